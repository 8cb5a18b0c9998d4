//! The tables of all modules, as lists of numbered steps: one list for each database.
//!
//! Owns the lists; a backend runs one at start, each step in one transaction with the number it leads to. A step
//! that was released is never edited: a change is a new step at the end.
//!
//! Tables and columns have Nacos' names (2.4.3, `distribution/conf/{mysql,derby}-schema.sql`), so that its
//! statements and databases can be taken over. What holds in every dialect: ids are bound by the writer; text
//! compares and sorts by its bytes in UTF-8; times are [`Value::Time`](super::Value::Time); truth values are
//! the integers 0 and 1.

/// One step of the schema, from the step before it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Migration {
    /// Counts the steps from 1 without a gap. A database keeps the number of the last one it has.
    pub number: u32,
    /// For logs.
    pub name: &'static str,
    /// The statements for SQLite, separated by semicolons. No transaction control among them.
    pub sqlite: &'static str,
    /// The same for Postgres.
    pub postgres: &'static str,
}

/// All steps of the server's database, in ascending order.
pub const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    name: "first",
    sqlite: include_str!("schema/0001_first.sql"),
    postgres: include_str!("schema/0001_first.postgres.sql"),
}];

/// All steps of the database of [`StandaloneProtocol`](crate::consistency::StandaloneProtocol), in ascending order.
pub const CONSISTENCY: &[Migration] = &[Migration {
    number: 1,
    name: "first",
    sqlite: include_str!("schema/consistency/0001_first.sql"),
    postgres: include_str!("schema/consistency/0001_first.postgres.sql"),
}];

/// The number of the last step in `migrations`; 0 if there is none.
pub fn latest(migrations: &[Migration]) -> u32 {
    migrations.last().map_or(0, |last| last.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_from_one_without_a_gap() {
        for steps in [MIGRATIONS, CONSISTENCY] {
            let numbers: Vec<u32> = steps.iter().map(|step| step.number).collect();
            assert_eq!(numbers, (1..=latest(steps)).collect::<Vec<_>>());
        }
    }
}
