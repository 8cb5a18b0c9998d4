//! Whether memory grows with the number of overwrites of one key. Each leaves a row of history: on disk, not here.
//!
//! Two keys are overwritten, one after the other, on one server. With the first, the server's bounded caches still
//! fill, that of the database above all; with the second they are full, and what memory gains is kept for
//! overwrites.

use anyhow::Result;
use tokio::runtime::Runtime;

use super::{
    process::Subject,
    publishes::{self, Until},
    report::{Report, Row, Target, bytes},
    start,
};

/// What an allocator may scatter; one content kept for each overwrite would be many times it.
const ALLOWED: f64 = 2.0 * 1024.0 * 1024.0;

/// Measures at these numbers of overwrites, each counted from the begin, and adds them to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, overwrites: &[usize]) -> Result<()> {
    let (_data, server) = start::fresh()?;
    let subject = Subject::from(&server);
    let first = runtime.block_on(series(subject, "bench-overwritten-first", overwrites))?;
    let second = runtime.block_on(series(subject, "bench-overwritten-second", overwrites))?;
    if let (Some(few), Some(many)) = (overwrites.first(), overwrites.last()) {
        let row = |memory: &[f64], which: &str| {
            let gained = memory.last().unwrap_or(&0.0) - memory.first().unwrap_or(&0.0);
            Row::new(format!("memory gained from {few} to {many} overwrites, {which}"), bytes(gained))
                .beside_only("contents written", bytes((many - few) as f64 * 1024.0))
        };
        report.row(row(&first, "fresh server"));
        report.row(row(&second, "caches full").target(Target::AtMost(bytes(ALLOWED))));
    }
    for (which, memory) in [("first", first), ("second", second)] {
        let all: Vec<String> =
            overwrites.iter().zip(memory).map(|(count, memory)| format!("{} at {count}", bytes(memory))).collect();
        report.note(format!("resident memory over overwrites of the {which} key: {}", all.join(", ")));
    }
    Ok(())
}

/// Resident memory at each of these numbers of overwrites of this key.
async fn series(subject: Subject, key: &str, overwrites: &[usize]) -> Result<Vec<f64>> {
    let key = [key.to_owned()];
    let mut so_far = 0;
    let mut memory = Vec::new();
    for count in overwrites {
        let done = publishes::publish(subject, &key, Until::Count(count - so_far)).await?;
        done.check(subject).await?;
        so_far = *count;
        memory.push(subject.settle().await? as f64);
    }
    Ok(memory)
}
