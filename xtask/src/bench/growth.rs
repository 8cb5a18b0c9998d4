//! Whether memory grows with the number of overwrites of one key. Each leaves a row of history: on disk, not here.

use anyhow::Result;
use tokio::runtime::Runtime;

use super::{
    process::Subject,
    publishes::{self, Until},
    report::{Report, Row, Target, bytes},
    start,
};

/// Growth that pages of a full database cache explain; one content kept for each overwrite would be many times it.
const ALLOWED: f64 = 2.0 * 1024.0 * 1024.0;

/// Measures at these numbers of overwrites, each counted from the begin, and adds them to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, overwrites: &[usize]) -> Result<()> {
    let (_data, server) = start::fresh()?;
    let subject = Subject::from(&server);
    let key = ["bench-overwritten".to_owned()];
    let mut so_far = 0;
    let mut memory: Vec<(usize, u64)> = Vec::new();
    for count in overwrites {
        let done = runtime.block_on(publishes::publish(subject, &key, Until::Count(count - so_far)))?;
        runtime.block_on(done.check(subject))?;
        so_far = *count;
        memory.push((so_far, runtime.block_on(subject.settle())?));
    }
    if let (Some((few, least)), Some((many, most))) = (memory.first(), memory.last()) {
        report.row(
            Row::new(format!("memory gained from {few} to {many} overwrites"), bytes(*most as f64 - *least as f64))
                .beside_only("contents written", bytes((many - few) as f64 * 1024.0))
                .target(Target::AtMost(bytes(ALLOWED))),
        );
    }
    let all: Vec<String> =
        memory.iter().map(|(count, memory)| format!("{} at {count}", bytes(*memory as f64))).collect();
    report.note(format!("resident memory over overwrites of one key with 1 KiB: {}", all.join(", ")));
    Ok(())
}
