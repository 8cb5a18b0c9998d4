use super::*;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Differences between two JSON texts.
fn diff(expected: &str, actual: &str) -> Vec<String> {
    differences(&json(expected), &json(actual), "$")
}

fn same(expected: &str, actual: &str) {
    assert_eq!(diff(expected, actual), Vec::<String>::new(), "{expected} against {actual}");
}

fn differs(expected: &str, actual: &str) {
    assert_ne!(diff(expected, actual), Vec::<String>::new(), "{expected} against {actual}");
}

/// The matcher takes each of the first and none of the second, as a JSON string alone.
fn takes(matcher: &str, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(text_matches(matcher, text), "{matcher} must take {text:?}");
        assert!(text_matches(&format!("a{matcher}b"), &format!("a{text}b")), "a{matcher}b must take a{text:?}b");
    }
    for text in bad {
        assert!(!text_matches(matcher, text), "{matcher} must not take {text:?}");
    }
}

#[test]
fn matchers_of_texts() {
    takes("<int-string>", &["0", "-12", "123456789012345678901"], &["", "1.0", "+1", "a", " 1"]);
    takes("<ts-ms-string>", &["1700000000000"], &["170000000000", "17000000000000", "2700000000000", "x1700000000000"]);
    takes("<uuid>", &["01234567-89ab-CDEF-0123-456789abcdef"], &["0123456789abcdef0123456789abcdef", ""]);
    takes("<md5>", &["f97c5d29941bfb1b2fdab0874906ab82"], &["F97C5D29941BFB1B2FDAB0874906AB82", "f97c", ""]);
    takes("<ip>", &["127.0.0.1", "::1", "[fe80::1]", "0:0:0:0:0:0:0:1"], &["127.0.0", "localhost", ""]);
    takes("<host-port>", &["127.0.0.1:8848", "host:1"], &["127.0.0.1", "a b:1", "http://a:1", ":1"]);
    takes(
        "<iso-ts>",
        &["2024-01-02T03:04:05Z", "2024-01-02 03:04:05.678+00:00", "2024-01-02T03:04:05+0800", "2024-01-02T03:04:05"],
        &["2024-1-2T03:04:05", "2024-01-02", "1700000000000"],
    );
    takes(
        "<http-date>",
        &["Tue, 02 Jan 2024 03:04:05 GMT"],
        &["Tue, 2 Jan 2024 03:04:05 GMT", "Tue, 02 Jan 2024 03:04:05"],
    );
    takes("<jwt>", &["eyJ-_.eyJz.c2ln"], &["a.b", "a.b.", "a b.c.d"]);
    takes("<non-empty>", &["a", " ", "\n", "é\n中"], &[""]);
    takes("<any-string>", &["", "a\nb"], &[]);
    takes("<any-text>", &["", "a\nb"], &[]);
    takes("<spaces>", &["", "   "], &["a", "\t"]);
    takes("<any-int>", &["-1"], &["1.5"]);
    takes("<any-number>", &["1", "-1.5", "2e10", "1.0E-7"], &["1.", ".5", "x"]);
    takes("<ts-ms>", &["1700000000000"], &["1"]);
    takes("<any-bool>", &["true", "false"], &["True", "0"]);
}

#[test]
fn matchers_inside_longer_texts() {
    assert!(text_matches("caused: <any-text>;", "caused: a;b;"));
    assert!(!text_matches("caused: <any-text>;", "caused: a"));
    assert!(text_matches("I<spaces>", "I         "));
    assert!(text_matches("(a.b)<any-int>", "(a.b)7"));
    assert!(!text_matches("(a.b)<any-int>", "(axb)7"), "what is around a matcher is literal");
    assert!(!text_matches("<any-int>", "7\n"), "the end of a text is its very end");
    assert!(text_matches("<unknown>", "<unknown>") && !text_matches("<unknown>", "x"));
    assert!(text_matches("<any-int>", "<any-int>"), "a text always matches itself");
    assert!(text_matches("ä<any-text>中", "ä…中"));
}

#[test]
fn pieces_are_looked_for_anywhere() {
    assert!(text_holds("a 12 b", "a <any-int>"));
    assert!(!text_holds("a x b", "a <any-int>"));
    assert!(text_holds("1+1", "+"), "a piece is literal but for its matchers");
}

#[test]
fn numeric_matchers_take_numbers_only() {
    same(r#""<any-int>""#, "-3");
    same(r#""<any-int>""#, "3.0");
    same(r#""<any-int>""#, "18446744073709551615");
    same(r#""<any-int>""#, "1e22");
    differs(r#""<any-int>""#, "3.5");
    differs(r#""<any-int>""#, "\"3\"");
    differs(r#""<any-int>""#, "true");
    differs(r#""<any-int>""#, "null");
    same(r#""<any-number>""#, "3.5");
    same(r#""<any-number>""#, "1e-7");
    differs(r#""<any-number>""#, "\"3.5\"");
    same(r#""<ts-ms>""#, "1700000000000");
    same(r#""<ts-ms>""#, "1700000000000.0");
    differs(r#""<ts-ms>""#, "1700000000");
    differs(r#""<ts-ms>""#, "\"1700000000000\"");
}

#[test]
fn text_matchers_take_strings_only() {
    for matcher in ["<int-string>", "<ts-ms-string>", "<any-text>", "<any-string>"] {
        differs(&format!("{matcher:?}"), "1700000000000");
        same(&format!("{matcher:?}"), "\"1700000000000\"");
    }
    differs(r#""<any-string>""#, "null");
    same(r#""<any-bool>""#, "false");
    differs(r#""<any-bool>""#, "\"false\"");
    differs(r#""<any-bool>""#, "0");
}

#[test]
fn any_takes_whatever_is_there() {
    for actual in ["null", "1", "\"\"", "[]", "{\"a\": 1}", "false"] {
        same(r#"{"x": "<any>"}"#, &format!("{{\"x\": {actual}}}"));
    }
    differs(r#"{"x": "<any>"}"#, "{}");
}

#[test]
fn objects_are_strict() {
    same(r#"{"a": 1, "b": null}"#, r#"{"b": null, "a": 1}"#);
    assert_eq!(diff(r#"{"a": 1, "b": null}"#, r#"{"a": 1}"#), ["$.b: missing"]);
    assert_eq!(diff(r#"{"a": 1}"#, r#"{"a": 1, "b": null}"#), ["$.b: unexpected (= null)"]);
    differs(r#"{"a": null}"#, r#"{"a": 0}"#);
    differs(r#"{"a": null}"#, r#"{"a": ""}"#);
    differs(r#"{"a": 0}"#, r#"{"a": null}"#);
    differs("{}", "[]");
    assert_eq!(diff(r#"{"a": {"b": [1]}}"#, r#"{"a": {"b": [2]}}"#), ["$.a.b[0]: expected 1, got 2"]);
}

#[test]
fn strings_are_not_numbers_and_integers_are_floats() {
    same("1", "1.0");
    same("1.0", "1");
    same("[2.5]", "[2.50]");
    differs("1", "1.5");
    differs("1", "\"1\"");
    differs("\"1\"", "1");
    differs("1", "true");
    differs("true", "1");
    differs("false", "null");
    differs("9007199254740993", "9007199254740992");
    differs("9007199254740993", "9007199254740992.0");
    same("9007199254740992", "9007199254740992.0");
}

#[test]
fn lists_are_strict() {
    same("[1, [2]]", "[1, [2]]");
    assert_eq!(diff("[1, 2]", "[1]"), ["$: expected 2 elements, got 1"]);
    assert_eq!(diff("[1]", "[2, 1]"), ["$: expected 1 elements, got 2", "$[0]: expected 1, got 2"]);
    differs("[1, 2]", "[2, 1]");
    differs("[]", "{}");
    differs("[]", "null");
}

#[test]
fn partial() {
    same(r#"{"<partial>": {"a": "<any-int>"}}"#, r#"{"a": 1, "b": 2}"#);
    assert_eq!(diff(r#"{"<partial>": {"a": 1}}"#, r#"{"b": 2}"#), ["$.a: missing"]);
    differs(r#"{"<partial>": {"a": 1}}"#, "[1]");
    differs(r#"{"<partial>": {"a": {"b": 1}}}"#, r#"{"a": {"b": 1, "c": 1}}"#);
}

#[test]
fn a_wrapper_with_neighbours_is_an_ordinary_object() {
    differs(r#"{"<partial>": {}, "a": 1}"#, r#"{"a": 1}"#);
    same(r#"{"<partial>": {}, "a": 1}"#, r#"{"a": 1, "<partial>": {}}"#);
}

#[test]
fn unordered() {
    same(r#"{"<unordered>": [1, "<any-text>", {"a": 1}]}"#, r#"[{"a": 1}, "x", 1]"#);
    differs(r#"{"<unordered>": [1, 1]}"#, "[1, 2]");
    differs(r#"{"<unordered>": [1]}"#, "[1, 1]");
    assert_eq!(
        diff(r#"{"<unordered>": [{"a": 1}]}"#, r#"[{"a": 2}]"#),
        [r#"$: no element like {"a": 1} (nearest: $[0].a: expected 1, got 2)"#]
    );
    differs(r#"{"<unordered>": []}"#, "null");
}

#[test]
fn contains_and_not_contains() {
    same(r#"{"<contains>": [{"<partial>": {"a": 2}}]}"#, r#"[{"a": 1}, {"a": 2, "b": 1}, 3]"#);
    differs(r#"{"<contains>": [1, 1]}"#, "[1, 2]");
    assert_eq!(diff(r#"{"<contains>": [1]}"#, "[]"), ["$: no element like 1"]);
    same(r#"{"<not-contains>": [1, "a"]}"#, "[2, \"b\"]");
    assert_eq!(diff(r#"{"<not-contains>": [1, "<any-text>"]}"#, "[1, \"b\"]").len(), 2);
    differs(r#"{"<not-contains>": [1]}"#, "{}");
}

#[test]
fn each_keys_all_one_of() {
    same(r#"{"<each>": {"<partial>": {"a": "<any-int>"}}}"#, r#"[{"a": 1}, {"a": 2}]"#);
    same(r#"{"<each>": 1}"#, "[]");
    assert_eq!(diff(r#"{"<each>": 1}"#, "[1, 2]"), ["$[1]: expected 1, got 2"]);
    same(r#"{"<keys>": ["a", "b"]}"#, r#"{"b": null, "a": 1}"#);
    assert_eq!(
        diff(r#"{"<keys>": ["a", "b"]}"#, r#"{"b": 1, "c": 1}"#),
        [r#"$: missing keys ["a"], extra keys ["c"]"#]
    );
    differs(r#"{"<keys>": []}"#, "[]");
    same(r#"{"<all>": [{"<contains>": [1]}, {"<not-contains>": [2]}]}"#, "[1, 3]");
    differs(r#"{"<all>": [{"<contains>": [1]}, {"<not-contains>": [2]}]}"#, "[1, 2]");
    same(r#"{"<one-of>": [1, "a"]}"#, "\"a\"");
    differs(r#"{"<one-of>": [1, "a"]}"#, "\"b\"");
    differs(r#"{"<one-of>": []}"#, "1");
    assert_eq!(diff(r#"{"<one-of>": [[1, 2], [3, 2]]}"#, "[3, 1]"), ["$[1]: expected 2, got 1"], "the nearest choice");
}

#[test]
fn json_inside_a_string() {
    same(r#"{"<json-string>": {"a": "<any-int>"}}"#, r#""{\"a\": 1}""#);
    assert_eq!(diff(r#"{"<json-string>": {"a": 1}}"#, r#""{\"a\": 2}""#), ["$(json).a: expected 1, got 2"]);
    differs(r#"{"<json-string>": {"a": 1}}"#, r#"{"a": 1}"#);
    differs(r#"{"<json-string>": 1}"#, "1");
    differs(r#"{"<json-string>": {}}"#, "\"{\"");
}

#[test]
fn a_malformed_rule_never_passes() {
    differs(r#"{"<partial>": [1]}"#, "{}");
    differs(r#"{"<partial>": [1]}"#, "[1]");
    differs(r#"{"<unordered>": 1}"#, "[1]");
    differs(r#"{"<keys>": {}}"#, "[]");
    differs(r#"{"<all>": {}}"#, "[]");
}

#[test]
fn long_values_are_cut_on_a_character() {
    let text = short(&"中".repeat(100), SHOWN);
    assert_eq!(text.chars().count(), SHOWN);
    assert!(text.ends_with("中..."));
    assert_eq!(short("a\nb\r\u{1}\u{2}", SHOWN), "a\\nb\\r\\x01\\x02");
    assert_eq!(short("\u{1b}[2J", SHOWN), "\\x1b[2J", "a terminal is not at the mercy of an answer");
    assert_eq!(short("1234567", 6), "123...");
    assert_eq!(short("123456", 6), "123456");
}
