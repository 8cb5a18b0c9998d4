//! What client programs ask of the server's configurations.
//!
//! | they ask | they hear |
//! |---|---|
//! | `status NAMESPACE GROUP DATAID`: the HTTP status of a read; namespace `-` is the public one | `404` |
//! | `type NAMESPACE GROUP DATAID`: the stored type | `json` |
//! | `listened NAMESPACE GROUP DATAID MD5`: until the server holds its poll with this MD5, `-` for none | `yes` or `no` |

use anyhow::{Result, bail};

use super::{
    super::conversation::unless_dash,
    probe::{Key, Probe},
};

#[derive(Debug, PartialEq, Eq)]
enum Question {
    Status(Key),
    Type(Key),
    Listened(Key, String),
}

/// Answers one question.
///
/// # Errors
/// It is none of these, or the server does not answer.
pub fn answer(probe: &Probe, words: &[&str]) -> Result<String> {
    Ok(match Question::parse(words)? {
        Question::Status(key) => probe.status(&key)?.to_string(),
        Question::Type(key) => probe.kind(&key)?,
        Question::Listened(key, md5) => match probe.listened(&key, &md5)? {
            true => "yes".to_owned(),
            false => "no".to_owned(),
        },
    })
}

impl Question {
    fn parse(words: &[&str]) -> Result<Self> {
        let [what, namespace, group, data_id, more @ ..] = words else { bail!("half a question") };
        let key = Key { namespace: unless_dash(namespace), group: (*group).to_owned(), data_id: (*data_id).to_owned() };
        Ok(match (*what, more) {
            ("status", []) => Self::Status(key),
            ("type", []) => Self::Type(key),
            ("listened", [md5]) => Self::Listened(key, unless_dash(md5)),
            _ => bail!("an unknown question"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_key_and_an_md5() {
        let asked = Question::parse(&["listened", "-", "配置分组", "配置.x", "-"]).unwrap();
        let key = Key { namespace: String::new(), group: "配置分组".to_owned(), data_id: "配置.x".to_owned() };
        assert_eq!(asked, Question::Listened(key, String::new()));
        assert!(Question::parse(&["colour", "-", "G", "d"]).is_err());
        assert!(Question::parse(&["status", "-", "G"]).is_err());
    }
}
