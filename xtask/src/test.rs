//! `cargo xtask test`: all that this machine can check, one step after the other.
//!
//! A step that failed does not keep the next from running. What a machine lacks for a step is named, and that step
//! left out; with `--all` nothing may be left out, and what can be installed is. [`steps`] holds what is checked,
//! [`report`] what is said about it.

mod report;
mod steps;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::exit,
    time::Instant,
};

use anyhow::{Result, anyhow};

use report::{Report, Verdict};
use steps::{STEPS, Step, Wishes};

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// Install what is missing where that can be done; what is left out all the same is a failure
    #[arg(long)]
    all: bool,
    /// Only this step; may be given more than once
    #[arg(long, value_name = "STEP", value_delimiter = ',', value_parser = STEPS.map(|step| step.name))]
    only: Vec<String>,
    /// Name the steps instead of running them
    #[arg(long)]
    list: bool,
}

/// Runs the command. Ends the process with status 1 if a step failed, so that the sum stays the last line.
pub fn run(args: Args) -> Result<()> {
    let wanted = STEPS.iter().filter(|step| args.only.is_empty() || args.only.iter().any(|name| name == step.name));
    if args.list {
        wanted.for_each(|step| println!("{:<10} {}", step.name, step.about));
        return Ok(());
    }
    let wishes = Wishes { all: args.all, named: !args.only.is_empty() };
    let mut report = Report::default();
    for step in wanted {
        println!("\n== {}: {}", step.name, step.about);
        let begun = Instant::now();
        let verdict = take(step, wishes);
        println!("{}", report.add(step.name, begun.elapsed(), verdict));
    }
    println!("\n{report}");
    if report.failed() > 0 {
        exit(1);
    }
    Ok(())
}

fn take(step: &Step, wishes: Wishes) -> Verdict {
    // A panic in a step is that step's failure; what it said of itself stands above.
    let result = catch_unwind(AssertUnwindSafe(|| (step.run)(wishes))).unwrap_or_else(|_| Err(anyhow!("it panicked")));
    Verdict::new(result, wishes.all && !step.excused)
}
