//! Java's `.properties` files: a thin layer over the `java-properties` crate, which knows the format.
//!
//! Added here: the encoding that Nacos' files really have, and comments that are not read at all. The crate
//! unescapes comments too, and so refuses a file over a `# C:\users` that Java skips. Open to any crate and to
//! fuzzing: any bytes give entries or an error, never a panic.

use java_properties::{LineContent, PropertiesIter};

/// One entry of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The line at which it begins, from 1.
    pub line: usize,
    /// Its name, unescaped.
    pub name: String,
    /// Its value, unescaped; empty if there is none.
    pub value: String,
}

/// A file that is not a properties file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Malformed {
    /// The line at which the entry begins, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// The entries of a file, in its order; a name may occur more than once.
///
/// `=`, `:` or blanks part name and value; `\` at the end of a line continues it; `#` and `!` begin comments;
/// `\uXXXX`, `\t`, `\n`, `\r`, `\f` and `\` before any other character are escapes.
///
/// # Errors
/// [`Malformed`] for a `\u` without four hexadecimal digits, the only thing that the format forbids, and for one
/// half of a surrogate pair (which Java would take if the other half follows: write such a character itself).
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, Malformed> {
    let text = without_comments(&decode(bytes));
    let mut properties = Vec::new();
    for line in PropertiesIter::new_with_encoding(text.as_bytes(), encoding_rs::UTF_8) {
        // Reading from memory cannot fail, which leaves escapes as the only fault.
        let line = line.map_err(|error| Malformed {
            line: error.line_number().unwrap_or_default(),
            reason: "\\u must be followed by the four hexadecimal digits of a character; write a backslash as \\\\"
                .to_owned(),
        })?;
        let number = line.line_number();
        if let LineContent::KVPair(name, value) = line.consume_content() {
            properties.push(Property { line: number, name, value });
        }
    }
    Ok(properties)
}

/// The text of a file: by its byte order mark if it has one, else UTF-8, else ISO 8859-1, which is what Java's
/// specification says and which takes any bytes.
pub fn decode(bytes: &[u8]) -> String {
    if let Some((encoding, mark)) = encoding_rs::Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default()).0.into_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::mem::decode_latin1(bytes).into_owned(),
    }
}

/// The text with comments blanked and lines kept, each ended by `\n`: the parser drops a last line that ends in a
/// backslash and has no end of its own.
fn without_comments(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut kept = String::with_capacity(text.len() + 1);
    let mut continued = false;
    for line in text.split('\n') {
        let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
        // What follows a continued line belongs to its value, whatever it begins with.
        if continued || !line.trim_start_matches(blank).starts_with(['#', '!']) {
            kept.push_str(line);
            continued = line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        }
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(bytes: impl AsRef<[u8]>) -> Vec<(usize, String, String)> {
        let properties = parse(bytes.as_ref()).expect("a properties file");
        properties.into_iter().map(|property| (property.line, property.name, property.value)).collect()
    }

    fn pair(line: usize, name: &str, value: &str) -> (usize, String, String) {
        (line, name.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_comments_continuations_and_line_ends() {
        let text =
            "# a comment = no entry\r\n! another\na=1\rb : 2\n\n  c\t3\nd\ne=x\\\n   #y\\\n z\nf=1\\=2#3\n\\#g=h=i\n";
        let expected = [
            pair(3, "a", "1"),
            pair(4, "b", "2"),
            pair(6, "c", "3"),
            pair(7, "d", ""),
            pair(8, "e", "x#yz"),
            pair(11, "f", "1=2#3"),
            pair(12, "#g", "h=i"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_comment_does_not_continue_and_is_not_unescaped() {
        assert_eq!(pairs("# C:\\users\\\na=1\n"), [pair(2, "a", "1")]);
    }

    #[test]
    fn a_backslash_at_the_very_end_does_not_lose_the_line() {
        assert_eq!(pairs("a=b\\"), [pair(1, "a", "b")]);
        assert_eq!(pairs("a=b"), [pair(1, "a", "b")]);
    }

    #[test]
    fn utf_8_latin_1_marks_and_escapes() {
        assert_eq!(pairs("a=配置 é"), [pair(1, "a", "配置 é")]);
        assert_eq!(pairs(b"a=caf\xe9"), [pair(1, "a", "café")]);
        assert_eq!(pairs(b"\xef\xbb\xbfa=1"), [pair(1, "a", "1")]);
        assert_eq!(pairs(b"\xff\xfea\x00=\x001\x00"), [pair(1, "a", "1")]);
        assert_eq!(pairs("a=\\u914d\\u7F6E\\tx\\:"), [pair(1, "a", "配置\tx:")]);
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        for text in ["a=1\nb=C:\\users", "a=1\nb=\\u12", "a=1\nb=\\ud83d\\ude00"] {
            assert_eq!(parse(text.as_bytes()).map_err(|error| error.line), Err(2), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_entries_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn text_in_the_letters_of_the_format_gives_entries_in_order(
            text in "[a-c=: \\\\#!u0-9\t\x0c\r\n\u{85}\u{2028}é]{0,200}",
        ) {
            if let Ok(properties) = parse(text.as_bytes()) {
                prop_assert!(properties.windows(2).all(|pair| pair[0].line < pair[1].line));
            }
        }

        #[test]
        fn plain_pairs_come_back(
            pairs in prop::collection::vec(
                ("[a-zA-Z][a-zA-Z0-9._-]{0,20}", "([!-9;<>-\\[\\]-~é配][ -\\[\\]-~é配]{0,20})?"),
                0..20,
            ),
        ) {
            let text: String = pairs.iter().map(|(name, value)| format!("{name} = {}\n", value)).collect();
            let read = parse(text.as_bytes()).expect("a properties file");
            let read: Vec<_> = read.into_iter().map(|property| (property.name, property.value)).collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
