//! A database that Nacos itself wrote, by the common plug-in for PostgreSQL (nacos-group/nacos-plugin, `nacos-pg.sql`).
//!
//! Its tables are recognised by their columns, whatever their order, widths or further columns. Taken over they keep
//! every row, and Nacos with its plug-in can still read them: texts lose their limits of length and compare by bytes,
//! a namespace that was NULL becomes the empty text, narrow integers become 64 bits wide.

use std::collections::HashMap;

use sqlx::{Executor as _, Row as _, postgres::PgConnection};

use super::{super::schema, PostgresError, migrate::Error};

/// What a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A text that is `''` where Nacos may have NULL.
    Filled,
    Integer,
    Time,
    /// A flag, or an integer that is one.
    Flag,
}

use Kind::{Filled, Flag, Integer, Text, Time};

type Columns = &'static [(&'static str, Kind)];

const CAPACITY: [(&str, Kind); 9] = [
    ("id", Integer),
    ("quota", Integer),
    ("usage", Integer),
    ("max_size", Integer),
    ("max_aggr_count", Integer),
    ("max_aggr_size", Integer),
    ("max_history_count", Integer),
    ("gmt_create", Time),
    ("gmt_modified", Time),
];

/// The tables of this server, with the columns that its statements name.
const TABLES: &[(&str, Columns)] = &[
    (
        "config_info",
        &[
            ("id", Integer),
            ("data_id", Text),
            ("group_id", Filled),
            ("tenant_id", Filled),
            ("app_name", Text),
            ("content", Text),
            ("md5", Text),
            ("gmt_create", Time),
            ("gmt_modified", Time),
            ("src_user", Text),
            ("src_ip", Text),
            ("c_desc", Text),
            ("c_use", Text),
            ("effect", Text),
            ("type", Text),
            ("c_schema", Text),
            ("encrypted_data_key", Filled),
        ],
    ),
    (
        "config_info_beta",
        &[
            ("id", Integer),
            ("data_id", Text),
            ("group_id", Text),
            ("tenant_id", Filled),
            ("app_name", Text),
            ("content", Text),
            ("beta_ips", Text),
            ("md5", Text),
            ("gmt_create", Time),
            ("gmt_modified", Time),
            ("src_user", Text),
            ("src_ip", Text),
            ("encrypted_data_key", Filled),
        ],
    ),
    (
        "config_info_tag",
        &[
            ("id", Integer),
            ("data_id", Text),
            ("group_id", Text),
            ("tenant_id", Filled),
            ("tag_id", Text),
            ("app_name", Text),
            ("content", Text),
            ("md5", Text),
            ("gmt_create", Time),
            ("gmt_modified", Time),
            ("src_user", Text),
            ("src_ip", Text),
        ],
    ),
    (
        "config_tags_relation",
        &[
            ("nid", Integer),
            ("id", Integer),
            ("tag_name", Text),
            ("tag_type", Filled),
            ("data_id", Text),
            ("group_id", Text),
            ("tenant_id", Filled),
        ],
    ),
    (
        "his_config_info",
        &[
            ("nid", Integer),
            ("id", Integer),
            ("data_id", Text),
            ("group_id", Text),
            ("tenant_id", Filled),
            ("app_name", Text),
            ("content", Text),
            ("md5", Text),
            ("gmt_create", Time),
            ("gmt_modified", Time),
            ("src_user", Text),
            ("src_ip", Text),
            ("op_type", Text),
            ("encrypted_data_key", Filled),
        ],
    ),
    ("group_capacity", &CAPACITY),
    ("tenant_capacity", &CAPACITY),
    (
        "tenant_info",
        &[
            ("id", Integer),
            ("kp", Text),
            ("tenant_id", Filled),
            ("tenant_name", Filled),
            ("tenant_desc", Text),
            ("create_source", Text),
            ("gmt_create", Integer),
            ("gmt_modified", Integer),
        ],
    ),
    ("users", &[("username", Text), ("password", Text), ("enabled", Flag)]),
    ("roles", &[("username", Text), ("role", Text)]),
    ("permissions", &[("role", Text), ("resource", Text), ("action", Text)]),
];

/// The key of a capacity, which [`CAPACITY`] leaves out.
const CAPACITY_KEYS: [(&str, &str); 2] = [("group_capacity", "group_id"), ("tenant_capacity", "tenant_id")];

/// Without these a database is not Nacos'. The others are made where they are missing.
const NEEDED: [&str; 2] = ["config_info", "his_config_info"];

/// What must be unique, so that an upsert finds its row.
const KEYS: [(&str, &str); 6] = [
    ("config_info", "data_id, group_id, tenant_id"),
    ("config_info_beta", "data_id, group_id, tenant_id"),
    ("config_info_tag", "data_id, group_id, tenant_id, tag_id"),
    ("config_tags_relation", "id, tag_name, tag_type"),
    ("tenant_info", "kp, tenant_id"),
    ("users", "username"),
];

struct Found {
    kind: String,
    collation: Option<String>,
    nullable: bool,
}

/// Takes the tables over if there are any; answers whether there were.
///
/// # Errors
/// [`PostgresError::UnknownSchema`] with every difference.
pub(super) async fn run(conn: &mut PgConnection) -> Result<bool, Error> {
    let found = columns(conn).await?;
    if found.is_empty() {
        return Ok(false);
    }
    let differences = differences(&found);
    if !differences.is_empty() {
        return Err(Error::Refused(PostgresError::UnknownSchema(differences)));
    }
    let doubles = doubles(conn, &found).await?;
    if !doubles.is_empty() {
        return Err(Error::Refused(PostgresError::UnknownSchema(doubles)));
    }
    for sql in changes(&found) {
        conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await?;
    }
    Ok(true)
}

/// The columns of those of our tables that are there, by table and name.
async fn columns(conn: &mut PgConnection) -> Result<HashMap<String, HashMap<String, Found>>, sqlx::Error> {
    let names: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    let rows = sqlx::query(
        "SELECT table_name::text, column_name::text, data_type::text, collation_name::text, is_nullable = 'YES' \
         FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ANY ($1)",
    )
    .bind(names)
    .fetch_all(conn)
    .await?;
    let mut found: HashMap<String, HashMap<String, Found>> = HashMap::new();
    for row in rows {
        let column = Found { kind: row.try_get(2)?, collation: row.try_get(3)?, nullable: row.try_get(4)? };
        found.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, column);
    }
    Ok(found)
}

fn expected() -> impl Iterator<Item = (&'static str, &'static str, Kind)> {
    let capacity = CAPACITY_KEYS.into_iter().map(|(table, column)| (table, column, Filled));
    TABLES.iter().flat_map(|(table, columns)| columns.iter().map(|(name, kind)| (*table, *name, *kind))).chain(capacity)
}

fn fits(kind: Kind, found: &str) -> bool {
    match kind {
        Text | Filled => matches!(found, "text" | "character varying" | "character"),
        Integer => matches!(found, "bigint" | "integer" | "smallint"),
        Time => found.starts_with("timestamp"),
        Flag => found == "boolean",
    }
}

fn differences(found: &HashMap<String, HashMap<String, Found>>) -> Vec<String> {
    let mut differences: Vec<String> = NEEDED
        .iter()
        .filter(|table| !found.contains_key(**table))
        .map(|table| format!("table {table} is missing"))
        .collect();
    for (table, name, kind) in expected() {
        match found.get(table).map(|columns| columns.get(name)) {
            Some(None) => differences.push(format!("{table}.{name} is missing")),
            Some(Some(column)) if !fits(kind, &column.kind) => {
                differences.push(format!("{table}.{name} is {}, expected {kind:?}", column.kind));
            }
            _ => {}
        }
    }
    differences
}

/// Keys that are there twice once NULL and '' are the same.
async fn doubles(
    conn: &mut PgConnection,
    found: &HashMap<String, HashMap<String, Found>>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut doubles = Vec::new();
    for (table, key) in KEYS.iter().filter(|(table, _)| found.contains_key(*table)) {
        let parts: Vec<String> = key.split(", ").map(|part| format!("COALESCE({part}::text, '')")).collect();
        let sql = format!(
            "SELECT concat_ws(' / ', {0}) FROM {table} GROUP BY {0} HAVING count(*) > 1 ORDER BY 1 LIMIT 20",
            parts.join(", ")
        );
        let rows = conn.fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await?;
        for row in rows {
            let key: String = row.try_get(0)?;
            doubles.push(format!("{table} holds the key {key} more than once; keep one of these rows"));
        }
    }
    Ok(doubles)
}

/// The statements that make the tables ours, in their order.
fn changes(found: &HashMap<String, HashMap<String, Found>>) -> Vec<String> {
    let mut changes = Vec::new();
    for (table, name, kind) in expected() {
        let Some(column) = found.get(table).and_then(|columns| columns.get(name)) else { continue };
        let mut alter = Vec::new();
        match kind {
            Text | Filled if column.kind != "text" || column.collation.as_deref() != Some("C") => {
                alter.push(format!("ALTER {name} TYPE text COLLATE \"C\""));
            }
            Integer if column.kind != "bigint" => alter.push(format!("ALTER {name} TYPE bigint")),
            _ => {}
        }
        if kind == Integer && name != "id" && CAPACITY_KEYS.iter().any(|(capacity, _)| *capacity == table) {
            alter.push(format!("ALTER {name} SET DEFAULT 0"));
        }
        if kind == Filled {
            if column.nullable {
                changes.push(format!("UPDATE {table} SET {name} = '' WHERE {name} IS NULL"));
                alter.push(format!("ALTER {name} SET NOT NULL"));
            }
            alter.push(format!("ALTER {name} SET DEFAULT ''"));
        }
        if !alter.is_empty() {
            changes.push(format!("ALTER TABLE {table} {}", alter.join(", ")));
        }
    }
    if found.contains_key("users") {
        // The plug-in's has no key at all.
        changes.push("CREATE UNIQUE INDEX IF NOT EXISTS uk_users_username ON users (username)".to_owned());
    }
    // Tables and indexes that are not there; the step that makes them all says how.
    for statement in schema::MIGRATIONS[0].postgres.split(';') {
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
        let statement = lines.collect::<Vec<_>>().join("\n");
        let statement = statement.trim();
        if let Some(rest) = statement.strip_prefix("CREATE TABLE ") {
            changes.push(format!("CREATE TABLE IF NOT EXISTS {rest}"));
        } else if let Some(rest) = statement.strip_prefix("CREATE UNIQUE INDEX ") {
            changes.push(format!("CREATE UNIQUE INDEX IF NOT EXISTS {rest}"));
        } else if let Some(rest) = statement.strip_prefix("CREATE INDEX ") {
            changes.push(format!("CREATE INDEX IF NOT EXISTS {rest}"));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_of_the_schema_is_expected() {
        let sql = schema::MIGRATIONS[0].postgres;
        for table in sql.split("CREATE TABLE ").skip(1) {
            let (name, rest) = table.split_once(' ').expect("a name");
            for line in rest.lines().skip(1).take_while(|line| !line.starts_with(')')) {
                let column = line.trim().split(' ').next().expect("a column");
                if column != "PRIMARY" {
                    assert!(expected().any(|(t, c, _)| (t, c) == (name, column)), "{name}.{column}");
                }
            }
        }
    }

    #[test]
    fn differences_are_named_one_by_one() {
        let column = |kind: &str| Found { kind: kind.to_owned(), collation: None, nullable: true };
        let mut found: HashMap<String, HashMap<String, Found>> = HashMap::new();
        found.insert("users".to_owned(), HashMap::from([("username".to_owned(), column("uuid"))]));
        assert_eq!(
            differences(&found),
            [
                "table config_info is missing",
                "table his_config_info is missing",
                "users.username is uuid, expected Text",
                "users.password is missing",
                "users.enabled is missing",
            ]
        );
    }
}
