//! `nacos_core::key::ConfigKey`: the text form of a key.

use nacos_core::key::ConfigKey;

/// What is read prints as it was written, what is printed reads back, and nothing that Java takes is refused but keys
/// without a dataId or a group.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let key = ConfigKey::parse_group_key(&text);
    assert_eq!(key.as_ref().map(|key| (key.data_id(), key.group(), key.namespace())).map(owned), naive(&text));
    if let Some(key) = key {
        // Only one escape stands for each escaped character, so the form is canonical, but for a namespace of blanks.
        let written = match text.rsplit_once('+') {
            Some((written, namespace)) if key.namespace().is_empty() && written.contains('+') => {
                assert!(namespace.trim().is_empty());
                written
            }
            _ => &text,
        };
        assert_eq!(key.group_key(), written);
    }

    // Any three parts, `+` and `%` among them, survive the text form.
    let mut parts = text.splitn(3, '|');
    let (data_id, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if !data_id.is_empty() && !group.is_empty() {
        let key = ConfigKey::new(data_id, group, parts.next().unwrap_or_default());
        assert_eq!(ConfigKey::parse_group_key(&key.group_key()), Some(key));
    }
}

fn owned((data_id, group, namespace): (&str, &str, &str)) -> [String; 3] {
    [data_id, group, namespace].map(str::to_owned)
}

/// Reads a character at a time, as Nacos' `GroupKey2.parseKey` does.
fn naive(text: &str) -> Option<[String; 3]> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = parts.last_mut()?;
        match c {
            '+' => parts.push(String::new()),
            '%' => match (chars.next()?, chars.next()?) {
                ('2', 'B') => part.push('+'),
                ('2', '5') => part.push('%'),
                _ => return None,
            },
            c => part.push(c),
        }
    }
    let (data_id, group, namespace) = match &parts[..] {
        [data_id, group] => (data_id, group, String::new()),
        // The public one has many names.
        [data_id, group, namespace] if namespace.trim().is_empty() => (data_id, group, String::new()),
        [data_id, group, namespace] => (data_id, group, namespace.clone()),
        _ => return None,
    };
    (!data_id.is_empty() && !group.is_empty()).then(|| [data_id.clone(), group.clone(), namespace])
}
