//! `.metadata.yml`: a mapping with one list of flat mappings.
//!
//! Read from the parser's events, so that no tree is built and a scalar is its text, whatever it looks like: `desc: 1`
//! and `desc: null` are the texts `1` and `null`, as in Nacos (`YamlParserUtil.ConstructYamlConfigMetadata`).

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, StrInput};

use super::{ExportItem, ImportError, yaml_text};

/// Deeper nesting is refused (snakeyaml's limit).
const DEPTH_MAX: usize = 50;

/// What the metadata say of one configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) group: String,
    pub(super) data_id: String,
    pub(super) config_type: String,
    pub(super) app_name: Option<String>,
    pub(super) desc: Option<String>,
}

/// Writes the metadata of these rows, byte for byte as snakeyaml does for texts of one line: names sorted, an absent
/// application as the empty text that Nacos stores for it, other absent values left out.
pub(super) fn write(items: &[ExportItem]) -> String {
    if items.is_empty() {
        return "metadata: []\n".to_owned();
    }
    let mut out = "metadata:\n".to_owned();
    for item in items {
        let values = [
            ("- appName: ", Some(item.app_name.as_deref().unwrap_or_default())),
            ("  dataId: ", Some(&*item.data_id)),
            ("  desc: ", item.desc.as_deref()),
            ("  group: ", Some(&*item.group)),
            ("  type: ", item.config_type.as_deref()),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                out.push_str(name);
                yaml_text::push(&mut out, value, name.len());
                out.push('\n');
            }
        }
    }
    out
}

/// Reads the metadata of at most `rows_max` rows. Never an empty list.
pub(super) fn read(text: &str, rows_max: usize) -> Result<Vec<Row>, ImportError> {
    let mut events = Events(Parser::new_from_str(text));
    events.expect(&Event::StreamStart)?;
    events.document_start()?;
    let Event::MappingStart(..) = events.next()? else { return Err(illegal("not a mapping")) };
    let rows = match events.next()? {
        Event::MappingEnd => return Err(illegal("empty")),
        // As in Nacos, the first value is the list, whatever it is called.
        name => {
            events.skip(name)?;
            events.rows(rows_max)?
        }
    };
    loop {
        match events.next()? {
            Event::MappingEnd => break,
            other => events.skip(other)?,
        }
    }
    events.expect(&Event::DocumentEnd)?;
    events.expect(&Event::StreamEnd)?;
    if rows.is_empty() { Err(illegal("no rows")) } else { Ok(rows) }
}

fn illegal(reason: impl Into<String>) -> ImportError {
    ImportError::Metadata { reason: reason.into() }
}

struct Events<'a>(Parser<'a, StrInput<'a>>);

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Event<'a>, ImportError> {
        match self.0.next() {
            Some(Ok((Event::Alias(_), at))) => Err(illegal(format!("alias in line {}", at.start.line()))),
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(illegal(error.to_string())),
            None => Err(illegal("ends too early")),
        }
    }

    fn expect(&mut self, expected: &Event<'_>) -> Result<(), ImportError> {
        let event = self.next()?;
        if event == *expected { Ok(()) } else { Err(illegal(format!("{event:?} instead of {expected:?}"))) }
    }

    fn document_start(&mut self) -> Result<(), ImportError> {
        match self.next()? {
            Event::DocumentStart(_) => Ok(()),
            _ => Err(illegal("no document")),
        }
    }

    /// Passes over the node that begins with `first`.
    fn skip(&mut self, first: Event<'a>) -> Result<(), ImportError> {
        let mut depth = 0;
        let mut event = first;
        loop {
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
            if depth > DEPTH_MAX {
                return Err(illegal(format!("nested more than {DEPTH_MAX} deep")));
            }
            event = self.next()?;
        }
    }

    fn rows(&mut self, rows_max: usize) -> Result<Vec<Row>, ImportError> {
        let Event::SequenceStart(..) = self.next()? else { return Err(illegal("not a list")) };
        let mut rows = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(rows),
                Event::MappingStart(..) if rows.len() == rows_max => {
                    return Err(ImportError::TooLarge { what: "rows of metadata", max: rows_max as u64 });
                }
                Event::MappingStart(..) => rows.push(self.row()?),
                _ => return Err(illegal(format!("row {} is not a mapping", rows.len()))),
            }
        }
    }

    fn row(&mut self) -> Result<Row, ImportError> {
        let mut row = Row::default();
        while let Some(name) = self.scalar_or_end()? {
            let Some(value) = self.scalar_or_end()?.map(Cow::into_owned) else {
                return Err(illegal(format!("no value of {name:?}")));
            };
            match &*name {
                "group" => row.group = value,
                "dataId" => row.data_id = value,
                "type" => row.config_type = value,
                "appName" => row.app_name = Some(value),
                "desc" => row.desc = Some(value),
                _ => {}
            }
        }
        for (name, value) in [("dataId", &row.data_id), ("group", &row.group), ("type", &row.config_type)] {
            if value.trim().is_empty() {
                return Err(illegal(format!("a row without {name}")));
            }
        }
        Ok(row)
    }

    fn scalar_or_end(&mut self) -> Result<Option<Cow<'a, str>>, ImportError> {
        match self.next()? {
            Event::Scalar(text, ..) => Ok(Some(text)),
            Event::MappingEnd => Ok(None),
            _ => Err(illegal("a row that is not flat")),
        }
    }
}
