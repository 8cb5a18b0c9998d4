//! Searches for operators: by patterns over keys, by application, tags, types and contents; exports; a namespace's
//! list.

use nacos_core::{
    key::ConfigKey,
    storage::{Query, StorageError, Value},
};

use super::{
    Repository,
    rows::{ROW, Reader, Row, first_int, marks, read_row},
};

/// What to look for in `config_info`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Whether dataId, group and namespace are patterns with `*`; else they must be equal.
    pub blur: bool,
    /// Whether only the dataId is a pattern, as in an export.
    pub blur_data_id: bool,
    /// The dataId; `None` for any.
    pub data_id: Option<String>,
    /// The group; `None` for any.
    pub group: Option<String>,
    /// The namespace, always compared.
    pub namespace: String,
    /// The application, compared for equality.
    pub app_name: Option<String>,
    /// Rows that bear any of these tags; empty for all rows.
    pub tags: Vec<String>,
    /// Rows of any of these types; empty for all rows.
    pub types: Vec<String>,
    /// A pattern for the whole content, in which `*` matches anything.
    pub content: Option<String>,
}

/// A configuration of a namespace, in brief.
#[derive(Debug, Clone)]
pub struct NamespaceRow {
    /// The row's id.
    pub id: i64,
    /// The key.
    pub key: ConfigKey,
    /// The application.
    pub app_name: Option<String>,
    /// The type's name.
    pub config_type: Option<String>,
    /// When it was last published.
    pub modified: i64,
}

impl Repository {
    /// How many rows a filter finds, and those of one page (from 1). With tags a row comes once for each of them
    /// that it bears, as in Nacos.
    pub async fn search(&self, filter: &Filter, page: i64, size: i64) -> Result<(i64, Vec<Row>), StorageError> {
        let (source, condition, args) = filter.sql();
        let total =
            self.db.query(Query::new(format!("SELECT count(*) FROM {source} WHERE {condition}"), args.clone())).await?;
        let total = first_int(&total)?;
        let offset = (page - 1).saturating_mul(size);
        if offset >= total {
            return Ok((total, Vec::new()));
        }
        let next = args.len() + 1;
        // Nacos names no order; the recorded server's came from the indexes that its database chose.
        let order = match (filter.blur, filter.tags.is_empty()) {
            (true, true) => "a.group_id, a.data_id, a.tenant_id",
            (_, true) => "a.id",
            (_, false) => "a.id, b.nid",
        };
        let sql =
            format!("SELECT {ROW} FROM {source} WHERE {condition} ORDER BY {order} LIMIT ?{next} OFFSET ?{}", next + 1);
        let mut args = args;
        args.push(size.into());
        args.push(offset.into());
        let rows = self.db.query(Query::new(sql, args)).await?;
        let rows = rows.rows.into_iter().map(read_row).collect::<Result<_, _>>()?;
        Ok((total, rows))
    }

    /// Rows for an export: what the filter finds after `last_id`, at most `most`, in the order of their ids.
    pub async fn export_page(&self, filter: &Filter, last_id: i64, most: i64) -> Result<Vec<Row>, StorageError> {
        let (source, condition, mut args) = filter.sql();
        let next = args.len() + 1;
        let sql = format!(
            "SELECT {ROW} FROM {source} WHERE {condition} AND a.id > ?{next} ORDER BY a.id LIMIT ?{}",
            next + 1
        );
        args.push(last_id.into());
        args.push(most.into());
        self.db.query(Query::new(sql, args)).await?.rows.into_iter().map(read_row).collect()
    }

    /// Id, key, application, type and time of every configuration of a namespace.
    pub async fn of_namespace(&self, namespace: &str) -> Result<Vec<NamespaceRow>, StorageError> {
        let sql = "SELECT id, data_id, group_id, tenant_id, app_name, type, gmt_modified FROM config_info \
                   WHERE tenant_id = ?1 ORDER BY id";
        let rows = self.db.query(Query::new(sql, [namespace.into()])).await?;
        rows.rows
            .into_iter()
            .map(|row| {
                let mut row = Reader::new(row);
                Ok(NamespaceRow {
                    id: row.int()?,
                    key: ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default()),
                    app_name: row.maybe()?,
                    config_type: row.maybe()?,
                    modified: row.int()?,
                })
            })
            .collect()
    }
}

/// A text to search for may have this many bytes: no key is nearly as long, and databases refuse longer patterns.
const TEXT_MAX: usize = 16 * 1024;
/// So many tags or types may be searched for at once; databases bind a limited number of values.
const CHOICES_MAX: usize = 100;
/// A pattern for contents may have this many bytes: the time of a match is that of the content times this.
const CONTENT_PATTERN_MAX: usize = 256;

impl Filter {
    /// Whether a database can be asked this; if not, why.
    ///
    /// # Errors
    /// What is too long or too many.
    pub fn check(&self) -> Result<(), String> {
        let texts = [&self.data_id, &self.group, &self.app_name, &self.content].into_iter().flatten();
        let mut texts = texts.chain([&self.namespace]).chain(&self.tags).chain(&self.types);
        if texts.any(|text| text.len() > TEXT_MAX) {
            return Err(format!("search text is over {TEXT_MAX} bytes"));
        }
        if self.content.as_ref().is_some_and(|pattern| pattern.len() > CONTENT_PATTERN_MAX) {
            return Err(format!("text to search for in contents is over {CONTENT_PATTERN_MAX} bytes"));
        }
        if self.tags.len() > CHOICES_MAX || self.types.len() > CHOICES_MAX {
            return Err(format!("more than {CHOICES_MAX} tags or types to search for"));
        }
        Ok(())
    }

    /// The tables, the condition over them, and its arguments.
    fn sql(&self) -> (&'static str, String, Vec<Value>) {
        let mut args: Vec<Value> = Vec::new();
        let mut conditions = Vec::new();
        let mut add = |text: &str, values: Vec<Value>| {
            let mut text = text.to_owned();
            if let Some(at) = text.find("??") {
                text.replace_range(at..at + 2, &marks(args.len() + 1, values.len()));
            } else {
                text = text.replace('?', &format!("?{}", args.len() + 1));
            }
            args.extend(values);
            conditions.push(text);
        };
        let pattern = |text: &str| Value::from(text.replace('*', "%"));
        let compare = if self.blur { "LIKE" } else { "=" };
        let value = |text: &str| if self.blur { pattern(text) } else { text.into() };
        add(&format!("a.tenant_id {compare} ?"), vec![value(&self.namespace)]);
        if let Some(data_id) = &self.data_id {
            let any = self.blur || self.blur_data_id;
            let compare = if any { "LIKE" } else { "=" };
            add(&format!("a.data_id {compare} ?"), vec![if any { pattern(data_id) } else { data_id.as_str().into() }]);
        }
        if let Some(group) = &self.group {
            add(&format!("a.group_id {compare} ?"), vec![value(group)]);
        }
        if let Some(app_name) = &self.app_name {
            add("a.app_name = ?", vec![app_name.as_str().into()]);
        }
        if let Some(content) = &self.content {
            add("a.content LIKE ?", vec![pattern(content)]);
        }
        if !self.types.is_empty() {
            add("a.type IN (??)", self.types.iter().map(|name| name.as_str().into()).collect());
        }
        if !self.tags.is_empty() {
            add("b.tag_name IN (??)", self.tags.iter().map(|name| name.as_str().into()).collect());
        }
        let source = if self.tags.is_empty() {
            "config_info a"
        } else {
            "config_info a JOIN config_tags_relation b ON b.id = a.id"
        };
        (source, conditions.join(" AND "), args)
    }
}
