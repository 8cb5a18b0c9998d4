//! `${...}` in recordings: values of the run, values captured from answers, `${repeat:TEXT:N}`, `${md5:TEXT}`.
//!
//! Pure. Unknown names stay as they are.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context as _, Result, bail};
use md5::{Digest as _, Md5};
use regex::Regex;

use super::value::{Object, Value};

static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{([^{}]+)\}").expect("the pattern of variables is valid"));

static PATH_PART: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[^.\[\]]+|\[-?\d+\]").expect("the pattern of path parts is valid"));

/// The values that variables stand for.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<String, Value>);

impl Names {
    /// Gives a name a value; an earlier one is replaced.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// The text with its variables replaced. Fails if a `repeat` has no valid number.
    pub fn in_text(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for found in VARIABLE.captures_iter(text) {
            let (whole, [name]) = found.extract();
            let start = found.get_match().start();
            out += &text[end..start];
            out += &self.one(name)?.unwrap_or_else(|| whole.to_owned());
            end = start + whole.len();
        }
        out += &text[end..];
        Ok(out)
    }

    /// What one variable stands for; `None` if it is unknown.
    fn one(&self, name: &str) -> Result<Option<String>> {
        if let Some(value) = self.0.get(name) {
            return Ok(Some(value.plain()));
        }
        if let Some(rest) = name.strip_prefix("repeat:") {
            let (text, count) = rest.rsplit_once(':').unwrap_or(("", rest));
            let count: usize = count.parse().with_context(|| format!("no number of repetitions in ${{{name}}}"))?;
            return Ok(Some(text.repeat(count)));
        }
        if let Some(text) = name.strip_prefix("md5:") {
            // Braces cannot be nested, so a variable inside is written in brackets.
            let text = self.in_text(&text.replace('[', "${").replace(']', "}"))?;
            return Ok(Some(format!("{:x}", Md5::digest(text))));
        }
        Ok(None)
    }

    /// The value with the variables of all its texts and names replaced. A text that is nothing but a known variable
    /// becomes its value, whatever the type.
    pub fn in_value(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::Text(text) => {
                let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                match name.and_then(|name| self.0.get(name)) {
                    Some(known) => known.clone(),
                    None => Value::Text(self.in_text(text)?),
                }
            }
            Value::List(list) => Value::List(list.iter().map(|one| self.in_value(one)).collect::<Result<_>>()?),
            Value::Object(object) => Value::Object(self.in_object(object)?),
            other => other.clone(),
        })
    }

    /// The object with the variables of all its texts and names replaced.
    pub fn in_object(&self, object: &Object) -> Result<Object> {
        let mut out = Object::default();
        for (name, value) in object.iter() {
            out.set(self.in_text(name)?, self.in_value(value)?);
        }
        Ok(out)
    }
}

/// The value at a path such as `data.list[0].id`; a negative index counts from the end.
pub fn pick(value: &Value, path: &str) -> Result<Value> {
    let mut at = value;
    for part in PATH_PART.find_iter(path).map(|part| part.as_str()) {
        let index = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        at = match (at, index) {
            (Value::List(list), Some(index)) => {
                let index: isize = index.parse()?;
                let index = if index < 0 { list.len().checked_add_signed(index) } else { usize::try_from(index).ok() };
                index.and_then(|index| list.get(index)).with_context(|| format!("no element {part}"))?
            }
            (Value::Object(object), None) => object.get(part).with_context(|| format!("no member {part}"))?,
            _ => bail!("nothing to take {part} from"),
        };
    }
    Ok(at.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        names.set("ns", "g-1");
        names.set("port", 8848);
        names.set("list", serde_json::from_str::<Value>("[1, \"a\"]").unwrap());
        names
    }

    fn text(text: &str) -> String {
        names().in_text(text).unwrap()
    }

    #[test]
    fn known_and_unknown_names() {
        assert_eq!(text("a${ns}b${port}c"), "ag-1b8848c");
        assert_eq!(text("${list}"), "[1, \"a\"]");
        assert_eq!(text("${contextPath:nacos} ${} ${${ns}} $ns {ns}"), "${contextPath:nacos} ${} ${g-1} $ns {ns}");
    }

    #[test]
    fn repeat() {
        assert_eq!(text("<${repeat:ab:3}>"), "<ababab>");
        assert_eq!(text("${repeat:a:b:2}"), "a:ba:b");
        assert_eq!(text("${repeat:x:0}"), "");
        assert!(names().in_text("${repeat:x:many}").is_err());
    }

    #[test]
    fn md5_of_text_and_of_nested_variables() {
        assert_eq!(text("${md5:one}"), "f97c5d29941bfb1b2fdab0874906ab82");
        assert_eq!(text("${md5:a[ns]c}"), format!("{:x}", Md5::digest("ag-1c")));
        assert_eq!(text("${md5:[repeat:v:3]}"), format!("{:x}", Md5::digest("vvv")));
        assert_eq!(text("${md5:[md5:one]}"), format!("{:x}", Md5::digest("f97c5d29941bfb1b2fdab0874906ab82")));
        assert_eq!(text("${md5:[unknown]}"), format!("{:x}", Md5::digest("${unknown}")));
    }

    #[test]
    fn a_variable_alone_keeps_its_type() {
        let value: Value =
            serde_json::from_str(r#"{"${ns}": "${port}", "b": ["${port}!", "${list}", null, 1]}"#).unwrap();
        let replaced = names().in_value(&value).unwrap();
        assert_eq!(replaced.to_string(), r#"{"g-1": 8848, "b": ["8848!", [1, "a"], null, 1]}"#);
    }

    #[test]
    fn picks_by_path() {
        let value: Value = serde_json::from_str(r#"{"data": {"list": [{"id": 1}, {"id": 2}]}}"#).unwrap();
        assert_eq!(pick(&value, "data.list[0].id").unwrap(), Value::from(1));
        assert_eq!(pick(&value, "data.list[-1].id").unwrap(), Value::from(2));
        for path in ["data.none", "data.list[2]", "data.list[-3]", "data[0]", "data.list.id"] {
            assert!(pick(&value, path).is_err(), "{path}");
        }
    }
}
