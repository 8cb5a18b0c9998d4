//! `nacos_core::settings`: the properties file that a server starts from.

use nacos_core::settings::{
    Settings, SettingsFile, SettingsInput,
    properties::{Property, decode, parse},
};

/// Settings are loaded from inputs whose length is a multiple of this.
const LOADED_OF: usize = 8;

/// The parser agrees with a naive one, what it reads can be written and read again, and settings are made of it or
/// each fault is told.
pub fn run(data: &[u8]) {
    let parsed = parse(data);
    match naive(&decode(data)) {
        Ok(expected) => assert_eq!(parsed.as_ref(), Ok(&expected)),
        Err(Odd::Escape) => assert!(parsed.is_err(), "{parsed:?}"),
        Err(Odd::Comment) => {}
    }
    let Ok(properties) = parsed else { return };
    // The empty line keeps a name that begins like a byte order mark from being one.
    let written = format!("\n{}", properties.iter().map(escaped).collect::<String>());
    let again = parse(written.as_bytes());
    assert_eq!(again.as_deref().map(pairs), Ok(pairs(&properties)), "{written:?}");

    // To load settings takes a hundred times longer than all that: only where there is something to set, and of those
    // only for some, so that the parser sees more.
    let sets = |property: &Property| ["nacos.", "server.", "db."].iter().any(|part| property.name.contains(part));
    if data.len().is_multiple_of(LOADED_OF) && properties.iter().any(sets) {
        let file = SettingsFile { name: "application.properties".to_owned(), bytes: data.to_vec() };
        if let Err(error) = Settings::load(SettingsInput { file: Some(file), ..SettingsInput::default() }) {
            assert!(!error.problems().is_empty() && !error.to_string().is_empty());
        }
    }
}

fn pairs(properties: &[Property]) -> Vec<(String, String)> {
    properties.iter().map(|property| (property.name.clone(), property.value.clone())).collect()
}

fn escaped(property: &Property) -> String {
    let escape = |text: &str| -> String {
        text.chars()
            .map(|c| match c {
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                '\x0c' => "\\f".to_owned(),
                ' ' | '\\' | '=' | ':' | '#' | '!' => format!("\\{c}"),
                c => c.to_string(),
            })
            .collect()
    };
    format!("{}={}\n", escape(&property.name), escape(&property.value))
}

/// What has no one reading.
enum Odd {
    /// An escape that is none.
    Escape,
    /// A comment's sign after the continuation of an empty line, in which one version of Java sees a comment and
    /// another does not.
    Comment,
}

/// Reads as Java's `Properties.load` does.
fn naive(text: &str) -> Result<Vec<Property>, Odd> {
    let mut properties = Vec::new();
    let mut logical: Option<(usize, String)> = None;
    // A second byte order mark is one too many, but does no harm.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    for (index, natural) in text.split('\n').enumerate() {
        // Java drops blanks, tabs and form feeds; the library drops all of Unicode's from a continued line.
        let natural = if logical.is_some() { natural.trim_start() } else { natural.trim_start_matches(is_blank) };
        let begins = logical.as_ref().is_none_or(|(_, line)| line.is_empty());
        if begins && natural.starts_with(['#', '!']) {
            match logical {
                Some(_) => return Err(Odd::Comment),
                None => continue,
            }
        }
        if begins && natural.is_empty() {
            logical = None;
            continue;
        }
        let continues = (natural.len() - natural.trim_end_matches('\\').len()) % 2 == 1;
        let (_, line) = logical.get_or_insert_with(|| (index + 1, String::new()));
        line.push_str(if continues { &natural[..natural.len() - 1] } else { natural });
        if !continues && let Some((number, line)) = logical.take() {
            properties.push(property(number, &line).ok_or(Odd::Escape)?);
        }
    }
    if let Some((number, line)) = logical.filter(|(_, line)| !line.is_empty()) {
        properties.push(property(number, &line).ok_or(Odd::Escape)?);
    }
    Ok(properties)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// The entry of a logical line; `None` for an escape that is none.
fn property(number: usize, line: &str) -> Option<Property> {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
    Some(Property { line: number, name: unescaped(name)?, value: unescaped(value)? })
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'f' => '\x0c',
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let digits = Some(digits).filter(|digits| digits.chars().count() == 4)?;
                    // Java wants four digits; the library takes a plus sign for the first.
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                c => c,
            },
            c => c,
        });
    }
    Some(out)
}
