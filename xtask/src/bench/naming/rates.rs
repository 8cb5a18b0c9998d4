//! Registrations, heartbeats and lists a second, each beside the bare server with the same requests and answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::{
    crowd,
    requests::{BEATEN, Size},
};
use crate::bench::{
    bare,
    loops::{self, Cycle, Exchange, Plan, Requests, Round},
    process::{Bare, Subject},
    report::{Report, Target},
    start,
};

/// Instances that beat, or are listed.
const INSTANCES: u32 = 10_000;

/// New instances, one after the other.
#[derive(Clone)]
struct Registrations {
    size: Size,
    next: Arc<AtomicU32>,
    request: Vec<u8>,
}

impl Registrations {
    fn new(size: Size) -> Self {
        Self { size, next: Arc::default(), request: Vec::new() }
    }
}

impl Requests for Registrations {
    fn next(&mut self) -> (&[u8], &[u8]) {
        self.request = self.size.register(self.next.fetch_add(1, Ordering::Relaxed));
        (&self.request, b"ok")
    }
}

/// Measures registrations of ever new instances, ten in a service, and adds them to the report.
///
/// Each round of ours has a server of its own: what was registered would soon expire, and that is no part of this.
pub fn registrations(report: &mut Report, runtime: &Runtime, plan: Plan) -> Result<()> {
    let size = Size(10);
    let ours = |duration: Duration| -> Result<Round> {
        let (_data, server) = start::fresh()?;
        let subject = Subject::from(&server);
        let registrations = Registrations::new(size);
        loops::round(subject, duration / 4, || registrations.clone())?;
        let round = loops::round(subject, duration, || registrations.clone())?;
        runtime.block_on(crowd::check_count(subject, registrations.next.load(Ordering::Relaxed)))?;
        Ok(round)
    };
    let bare = Bare::start()?;
    let theirs = |duration| {
        let registrations = Registrations::new(size);
        loops::round(bare.subject(), duration, || registrations.clone())
    };
    loops::alternate(plan, ours, theirs)?.show(report, "registrations", "a registration", None);
    Ok(())
}

/// Measures heartbeats of known instances in both forms, and adds them to the report.
pub fn beats(report: &mut Report, runtime: &Runtime, plan: Plan) -> Result<()> {
    let size = Size(10);
    let (_data, server) = start::fresh()?;
    let bare = Bare::start()?;
    let ours = Subject::from(&server);
    runtime.block_on(crowd::register(ours, size, 0..INSTANCES))?;
    let forms = [
        ("light heartbeats", "a light heartbeat", Size::light_beat as fn(Size, u32) -> Vec<u8>),
        ("full heartbeats", "a full heartbeat", Size::full_beat),
    ];
    for (what, each, beat) in forms {
        let beats = (0..INSTANCES).map(|number| Exchange { request: beat(size, number), body: BEATEN.into() });
        let beats = Cycle::new(beats);
        let pairs = loops::alternate(
            plan,
            |round| loops::round(ours, round, || beats.clone()),
            |round| loops::round(bare.subject(), round, || beats.clone()),
        )?;
        pairs.show(report, what, each, Some(Target::RatioAtLeast(0.50)));
    }
    runtime.block_on(crowd::check_count(ours, INSTANCES))
}

/// Measures lists of services of ten instances and of two hundred, and adds them to the report.
pub fn lists(report: &mut Report, runtime: &Runtime, plan: Plan) -> Result<()> {
    let (_data, server) = start::fresh()?;
    let bare = Bare::start()?;
    let (ours, theirs) = (Subject::from(&server), bare.subject());
    runtime.block_on(crowd::watch_no_beats(ours))?;
    for size in [Size(10), Size(200)] {
        let services = 0..INSTANCES / size.0;
        let lists = runtime.block_on(async {
            crowd::register(ours, size, 0..INSTANCES).await?;
            crowd::lists(ours, size, services.clone()).await
        })?;
        let given = lists.first().context("no list")?.clone();
        runtime.block_on(crowd::put(theirs, bare::naming::GIVEN_LIST, &given))?;
        let asked = |body: &dyn Fn(usize) -> Vec<u8>| {
            Cycle::new(
                services
                    .clone()
                    .map(|service| Exchange { request: size.list(service, None), body: body(service as usize) }),
            )
        };
        let (our_lists, their_lists) = (asked(&|service| lists[service].clone()), asked(&|_| given.clone()));
        let pairs = loops::alternate(
            plan,
            |round| loops::round(ours, round, || our_lists.clone()),
            |round| loops::round(theirs, round, || their_lists.clone()),
        )?;
        let what = format!("lists of {} instances ({} bytes)", size.0, given.len());
        pairs.show(report, &what, &format!("a list of {}", size.0), Some(Target::RatioAtLeast(0.60)));
    }
    Ok(())
}
