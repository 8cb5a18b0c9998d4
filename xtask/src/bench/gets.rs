//! Reads of configurations a second over keep-alive connections; ours and the bare server in turn.

use anyhow::Result;

use super::{
    bare,
    loops::{self, Cycle, Exchange, Plan},
    process::Subject,
    report::{Report, Target},
    wire,
};

/// Measures reads of these configurations (dataId and content) and adds them to the report.
pub fn measure(
    report: &mut Report,
    plan: Plan,
    ours: Subject,
    theirs: Subject,
    configs: &[(String, String)],
) -> Result<()> {
    let reads = |body: &dyn Fn(&str) -> Vec<u8>| {
        Cycle::new(configs.iter().map(|(id, content)| Exchange { request: wire::read(id), body: body(content) }))
    };
    let our_reads = reads(&|content| content.as_bytes().to_vec());
    let their_reads = reads(&|_| bare::CONTENT.to_vec());
    let pairs = loops::alternate(
        plan,
        |round| loops::round(ours, round, || our_reads.clone()),
        |round| loops::round(theirs, round, || their_reads.clone()),
    )?;
    pairs.show(report, "gets at 1 KiB", "a get", Some(Target::RatioAtLeast(0.70)));
    Ok(())
}
