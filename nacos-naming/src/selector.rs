//! Selectors: which consumers of a service see which of its instances (Nacos `SelectorManager`, `LabelSelector`,
//! `NoneSelector`).
//!
//! A selector is part of a service's metadata, which stores it; `http` reads one from a request ([`Selector::parse`])
//! and shows it, and whoever answers a query of instances applies it ([`Selector::select`]). What labels an address
//! has only a CMDB knows: a server that has one implements [`Labels`]. No state here.

mod expression;
mod parameter;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

pub use expression::{ExpressionError, parse_expression};
pub use parameter::SelectorError;

use expression::is_java_whitespace;

/// The types that there are, in Nacos' order (`SelectorManager.getAllSelectorTypes`).
pub const TYPES: [&str; 2] = ["label", "none"];

/// Which instances a consumer sees. Its serde form is what logs and snapshots hold: it may gain members and no other
/// change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Selector {
    /// All of them (Nacos `NoneSelector`).
    #[default]
    None,
    /// Those whose labels are the consumer's own (Nacos `LabelSelector`).
    Label {
        /// What was asked for, as it was written; `None` if it was left out, which compares nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expression: Option<String>,
        /// The names of the labels that are compared, read from the expression.
        #[serde(default)]
        labels: BTreeSet<String>,
    },
}

impl Selector {
    /// Its type's name, one of [`TYPES`].
    pub fn type_name(&self) -> &'static str {
        match self {
            Selector::None => "none",
            Selector::Label { .. } => "label",
        }
    }

    /// The JSON of `/v1/ns/service`.
    pub fn v1(&self) -> impl Serialize + use<'_> {
        Shown { selector: self, version: Version::V1 }
    }

    /// The JSON of `/v2/ns/service`, in which the member `type` comes twice: once for the class, and then as in v1.
    /// To be written straight to text: a tree of JSON would lose the first.
    pub fn v2(&self) -> impl Serialize + use<'_> {
        Shown { selector: self, version: Version::V2 }
    }

    /// The providers that the consumer is to see, in their order. A consumer for whom none would remain sees all of
    /// them, and so does one of whom nothing is known. `ip_of` gives a provider's address.
    pub fn select<P>(
        &self,
        known: &dyn Labels,
        consumer_ip: &str,
        mut providers: Vec<P>,
        ip_of: impl Fn(&P) -> &str,
    ) -> Vec<P> {
        let Some(wanted) = self.wanted_by(known.labels(consumer_ip).as_deref()) else { return providers };
        let fits = |provider: &P| {
            known.labels(ip_of(provider)).is_some_and(|labels| {
                wanted.iter().all(|(name, value)| labels.get(name).is_some_and(|labelled| labelled == value))
            })
        };
        // Each is asked for once: what is known may change in between.
        let fitting: Vec<bool> = providers.iter().map(fits).collect();
        if fitting.contains(&true) {
            let mut fitting = fitting.into_iter();
            providers.retain(|_| fitting.next().unwrap_or(true));
        }
        providers
    }

    /// The labels that a provider must have; `None` if no provider can fail to fit, or none can fit.
    fn wanted_by(&self, consumer: Option<&BTreeMap<String, String>>) -> Option<Vec<(String, String)>> {
        let Selector::Label { labels, .. } = self else { return None };
        let consumer = consumer.filter(|_| !labels.is_empty())?;
        let value_of = |name: &String| consumer.get(name).filter(|value| !value.chars().all(is_java_whitespace));
        labels.iter().map(|name| Some((name.clone(), value_of(name)?.clone()))).collect()
    }
}

/// Tells what labels an address has: the seam for a CMDB (Nacos `CmdbReader.queryEntity` for entities of type `ip`).
pub trait Labels: Send + Sync {
    /// The labels of the entity with this address; `None` if there is no such entity. Called for each instance of an
    /// answer: must come from memory.
    fn labels(&self, ip: &str) -> Option<Arc<BTreeMap<String, String>>>;
}

/// No CMDB: nothing is known of any address, so that every selector lets everything pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLabels;

impl Labels for NoLabels {
    fn labels(&self, _: &str) -> Option<Arc<BTreeMap<String, String>>> {
        None
    }
}

/// A selector as an answer shows it.
struct Shown<'a> {
    selector: &'a Selector,
    version: Version,
}

#[derive(PartialEq)]
enum Version {
    V1,
    V2,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let v2 = self.version == Version::V2;
        let type_name = self.selector.type_name();
        let (class, context) = match self.selector {
            Selector::None => ("NoneSelector", "NONE"),
            Selector::Label { .. } => ("LabelSelector", "CMDB"),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", if v2 { class } else { type_name })?;
        if let Selector::Label { expression, labels } = self.selector {
            // v1 leaves out what is null.
            if v2 || expression.is_some() {
                map.serialize_entry("expression", expression)?;
            }
            map.serialize_entry("labels", labels)?;
        }
        if v2 {
            map.serialize_entry("type", type_name)?;
        }
        map.serialize_entry("contextType", context)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn label(expression: &str) -> Selector {
        let labels = parse_expression(expression).expect("an expression");
        Selector::Label { expression: Some(expression.to_owned()), labels }
    }

    fn shown(value: impl Serialize) -> String {
        serde_json::to_string(&value).expect("it can be written")
    }

    const A: &str = "CONSUMER.label.A = PROVIDER.label.A";
    const A_B: &str = "CONSUMER.label.A=PROVIDER.label.A&CONSUMER.label.B=PROVIDER.label.B";

    /// Texts that Nacos' classes gave, written by Jackson as the two controllers do.
    #[test]
    fn answers_show_what_nacos_shows() {
        let nothing = Selector::Label { expression: None, labels: BTreeSet::new() };
        for (selector, v1, v2) in [
            (
                Selector::None,
                r#"{"type":"none","contextType":"NONE"}"#,
                r#"{"type":"NoneSelector","type":"none","contextType":"NONE"}"#,
            ),
            (
                label(A),
                concat!(
                    r#"{"type":"label","expression":"CONSUMER.label.A = PROVIDER.label.A","labels":["A"],"#,
                    r#""contextType":"CMDB"}"#
                ),
                concat!(
                    r#"{"type":"LabelSelector","expression":"CONSUMER.label.A = PROVIDER.label.A","labels":["A"],"#,
                    r#""type":"label","contextType":"CMDB"}"#
                ),
            ),
            (
                nothing,
                r#"{"type":"label","labels":[],"contextType":"CMDB"}"#,
                r#"{"type":"LabelSelector","expression":null,"labels":[],"type":"label","contextType":"CMDB"}"#,
            ),
        ] {
            assert_eq!(shown(selector.v1()), v1);
            assert_eq!(shown(selector.v2()), v2);
            assert!(TYPES.contains(&selector.type_name()));
        }
    }

    /// Logs and snapshots of earlier servers must stay readable.
    #[test]
    fn the_stored_form_stays() {
        let nothing = Selector::Label { expression: None, labels: BTreeSet::new() };
        for (selector, stored) in [
            (Selector::None, r#"{"type":"none"}"#.to_owned()),
            (nothing, r#"{"type":"label","labels":[]}"#.to_owned()),
            (label(A_B), format!(r#"{{"type":"label","expression":"{A_B}","labels":["A","B"]}}"#)),
        ] {
            assert_eq!(shown(&selector), stored);
            assert_eq!(serde_json::from_str::<Selector>(&stored).ok().as_ref(), Some(&selector));
            let later = stored.replacen('{', r#"{"member":{"of":"later"},"#, 1);
            assert_eq!(serde_json::from_str::<Selector>(&later).ok(), Some(selector));
        }
    }

    /// Which labels each address has.
    struct Table(HashMap<&'static str, Arc<BTreeMap<String, String>>>);

    impl Table {
        fn of(rows: &[(&'static str, &[(&str, &str)])]) -> Self {
            let labels = |labels: &[(&str, &str)]| {
                Arc::new(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
            };
            Self(rows.iter().map(|(ip, row)| (*ip, labels(row))).collect())
        }
    }

    impl Labels for Table {
        fn labels(&self, ip: &str) -> Option<Arc<BTreeMap<String, String>>> {
            self.0.get(ip).cloned()
        }
    }

    const PROVIDERS: [&str; 4] = ["p1", "p2", "p3", "p4"];

    fn seen(selector: &Selector, known: &dyn Labels, consumer: &str) -> Vec<&'static str> {
        selector.select(known, consumer, PROVIDERS.to_vec(), |provider| provider)
    }

    #[test]
    fn consumers_see_providers_with_labels_like_their_own() {
        let known = Table::of(&[
            ("both", &[("A", "1"), ("B", "2")]),
            ("one", &[("A", "1")]),
            ("blank", &[("A", " "), ("B", "2")]),
            ("stranger", &[("A", "9")]),
            ("p1", &[("A", "1"), ("B", "2"), ("C", "3")]),
            ("p2", &[("A", "1"), ("B", "9")]),
            ("p3", &[("A", " "), ("B", "2")]),
        ]);
        assert_eq!(seen(&label(A), &known, "both"), ["p1", "p2"]);
        assert_eq!(seen(&label(A_B), &known, "both"), ["p1"]);
        assert_eq!(seen(&label(A), &known, "one"), ["p1", "p2"]);
        // A label that the consumer lacks, or whose value is blank, is nobody's; nobody is everybody.
        assert_eq!(seen(&label(A_B), &known, "one"), PROVIDERS);
        assert_eq!(seen(&label(A), &known, "blank"), PROVIDERS);
        assert_eq!(seen(&label(A), &known, "stranger"), PROVIDERS);
        assert_eq!(seen(&label(A), &known, "unknown"), PROVIDERS);
    }

    #[test]
    fn without_labels_to_compare_everything_passes() {
        let known = Table::of(&[("both", &[("A", "1")]), ("p1", &[("A", "1")])]);
        assert_eq!(seen(&label(A), &known, "both"), ["p1"]);
        assert_eq!(seen(&Selector::None, &known, "both"), PROVIDERS);
        assert_eq!(seen(&label(A), &NoLabels, "both"), PROVIDERS);
        // A provider of which nothing is known passes where nothing is compared.
        assert_eq!(seen(&label(" "), &known, "both"), PROVIDERS);
        assert!(label(A).select(&known, "both", Vec::<&str>::new(), |provider| provider).is_empty());
    }
}
