//! What each further key of a long poll costs in memory: polls on one key against polls on a hundred more, where
//! all watch the same hundred, and where each watches a hundred of its own.

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::{
    held::{self, Fleet},
    process::{Bare, Subject},
    report::{Report, Row, Target, bytes},
    start,
    wire::{self, Watched},
};

/// Further keys of each poll.
const FURTHER: usize = 100;

/// What the polls watch beside the one key.
#[derive(Clone, Copy)]
enum Keys {
    /// Nothing.
    None,
    /// The same published keys.
    Shared,
    /// Keys of its own each, none of which exists yet: the server knows them from the polls alone.
    Own,
}

/// Measures this many polls in each of the forms, and adds them to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, polls: usize) -> Result<()> {
    let ours = |keys| -> Result<f64> {
        let (_data, server) = start::fresh()?;
        runtime.block_on(gained(Subject::from(&server), keys, polls, true))
    };
    let theirs = |keys| -> Result<f64> {
        let bare = Bare::start()?;
        runtime.block_on(gained(bare.subject(), keys, polls, false))
    };
    let (our_base, their_base) = (ours(Keys::None)?, theirs(Keys::None)?);
    for (name, keys) in [("the same keys", Keys::Shared), ("keys of its own", Keys::Own)] {
        let each = |all: f64, base: f64| bytes((all - base) / (polls * FURTHER) as f64);
        report.row(
            Row::new(format!("memory a further key, each poll {name}"), each(ours(keys)?, our_base))
                .beside_only("bare", each(theirs(keys)?, their_base))
                .target(Target::AtMost(bytes(200.0))),
        );
    }
    report.note(format!(
        "further keys: {polls} polls on {} keys less {polls} polls on one, over {} keys; the bare server only keeps the form's text",
        FURTHER + 1,
        polls * FURTHER
    ));
    Ok(())
}

/// Resident bytes gained by these polls.
async fn gained(subject: Subject, keys: Keys, polls: usize, publishes: bool) -> Result<f64> {
    let shared: Vec<(String, String)> =
        (0..FURTHER).map(|n| (format!("bench-shared-{n:03}"), format!("content {n}"))).collect();
    let mut md5 = start::md5_hex("watched");
    if publishes {
        md5 = held::publish(subject, "watched").await.context("publish the watched key")?;
        start::publish_all(subject, &shared).await?;
    }
    let shared: Vec<(String, String)> =
        shared.into_iter().map(|(id, content)| (id, start::md5_hex(&content))).collect();
    let request = |number: usize| {
        let own: Vec<String> = match keys {
            Keys::Own => (0..FURTHER).map(|n| format!("bench-own-{number:05}-{n:03}")).collect(),
            Keys::None | Keys::Shared => Vec::new(),
        };
        let own = own.iter().map(|data_id| Watched { data_id, md5: "" });
        let same = shared.iter().filter(|_| matches!(keys, Keys::Shared));
        let same = same.map(|(data_id, md5)| Watched { data_id, md5 });
        wire::long_poll([Watched { data_id: held::WATCHED, md5: &md5 }].into_iter().chain(same).chain(own))
    };
    // Warmed with polls on one key alone: what the further keys make grow is part of what they cost.
    let idle = held::warm(subject, |_| held::poll(&md5)).await?;
    let mut fleet = Fleet::new(subject);
    fleet.grow(polls, request).await?;
    let full = subject.settle().await?;
    fleet.check_held()?;
    Ok(full as f64 - idle as f64)
}
