//! `nacos_config::watch::listening`: what a long poll says that it watches. The input is read twice: as the body of
//! the request, through the form parser and the second decoding, and as the decoded text itself.

use bytes::Bytes;
use nacos_config::watch::listening::{
    Held, KEYS_MAX, LINE, Listening, Malformed, WORD, answer_text, form_decode, form_encode, parse_listening,
};
use nacos_core::{key::ConfigKey, web::Params};

/// Both readings agree with a naive one, print and read back.
pub fn run(data: &[u8]) {
    check(&String::from_utf8_lossy(data));
    let params = Params::new(None, Bytes::copy_from_slice(data));
    if let Some(Ok(text)) =
        params.first("Listening-Configs").map(|text| form_decode(&text).map(|text| text.into_owned()))
    {
        check(&text);
    }
}

fn check(text: &str) {
    let mut encoded = String::new();
    form_encode(text, &mut encoded);
    assert_eq!(form_decode(&encoded).as_deref(), Ok(text));

    let parsed = parse_listening(text);
    assert_eq!(parsed, naive(text));
    let Ok(listening) = parsed else { return };
    assert!(listening.len() <= KEYS_MAX);
    assert_eq!(parse_listening(&printed(&listening)).as_deref(), Ok(&listening[..]));
    // Of the content that it holds a client is told nothing.
    for one in &listening {
        if let Held::Md5(md5) = one.held {
            assert!(one.held.equals(Some(md5)) && !one.held.equals(None));
        }
    }

    let answer = answer_text(listening.iter().map(|one| &one.key));
    assert!(answer.is_ascii(), "an answer is form-encoded");
    let lines: String = listening.iter().map(|one| line(&one.key)).collect();
    assert_eq!(form_decode(&answer).as_deref(), Ok(&*lines));
}

/// A line of an answer; a blank namespace is left out.
fn line(key: &ConfigKey) -> String {
    let mut words = vec![key.data_id(), key.group()];
    words.extend(Some(key.namespace()).filter(|namespace| !namespace.trim().is_empty()));
    format!("{}{LINE}", words.join(&WORD.to_string()))
}

fn printed(listening: &[Listening]) -> String {
    let lines = listening.iter().map(|Listening { key, held }| {
        let words = [key.data_id(), key.group(), &held.text(), key.namespace()];
        format!("{}{LINE}", words.join(&WORD.to_string()))
    });
    lines.collect()
}

/// Reads a character at a time, as Nacos' `MD5Util.getClientMd5Map` does, and refuses empty dataIds and groups, as
/// the checks behind it do.
fn naive(text: &str) -> Result<Vec<Listening>, Malformed> {
    let mut listening: Vec<Listening> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c == WORD {
            words.push(std::mem::take(&mut word));
            if words.len() > 3 {
                return Err(Malformed);
            }
        } else if c == LINE {
            words.push(std::mem::take(&mut word));
            let (data_id, group, md5, namespace) = match &words[..] {
                [data_id, group, md5] => (data_id, group, md5, ""),
                [data_id, group, md5, namespace] => (data_id, group, md5, &**namespace),
                _ => return Err(Malformed),
            };
            if data_id.is_empty() || group.is_empty() {
                return Err(Malformed);
            }
            let one = Listening { key: ConfigKey::new(data_id, group, namespace), held: Held::parse(md5) };
            match listening.iter_mut().find(|other| other.key == one.key) {
                Some(other) => *other = one,
                None => listening.push(one),
            }
            if listening.len() > KEYS_MAX {
                return Err(Malformed);
            }
            words.clear();
        } else {
            word.push(c);
        }
    }
    Ok(listening)
}
