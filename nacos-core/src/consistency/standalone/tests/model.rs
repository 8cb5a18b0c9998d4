//! Random entries, faults, stops and crashes lead to the state that the answers told of.

use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::*;

/// From a start to a stop, or to a crash that the faults bring.
#[derive(Debug, Clone)]
struct Life {
    snapshot_every: u64,
    snapshot_bytes: u64,
    /// Entries that are written together.
    bursts: Vec<Vec<Kind>>,
    faults: Vec<(usize, Planned)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Short,
    Long,
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum Planned {
    Away,
    Lost,
    LostButWritten,
    LostThenWritten,
    Crash(bool),
}

fn life() -> impl Strategy<Value = Life> {
    let kind = prop_oneof![4 => Just(Kind::Short), 1 => Just(Kind::Long), 1 => Just(Kind::Refused)];
    let planned = prop_oneof![
        2 => Just(Planned::Away),
        1 => Just(Planned::Lost),
        1 => Just(Planned::LostButWritten),
        1 => Just(Planned::LostThenWritten),
        2 => any::<bool>().prop_map(Planned::Crash),
    ];
    (
        1..12_u64,
        prop_oneof![Just(200_u64), Just(100_000)],
        vec(vec(kind, 1..6), 0..12),
        vec((1..40_usize, planned), 0..4),
    )
        .prop_map(|(snapshot_every, snapshot_bytes, bursts, faults)| Life {
            snapshot_every,
            snapshot_bytes,
            bursts,
            faults,
        })
}

/// What is known of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    Applied,
    Maybe,
    NotApplied,
}

/// What must be in the state, in this order.
#[derive(Default)]
struct Model {
    entries: Vec<(String, Known)>,
    names: usize,
}

impl Model {
    fn name(&mut self, kind: Kind) -> String {
        self.names += 1;
        match kind {
            Kind::Short => format!("é{}", self.names),
            Kind::Long => format!("{} {}", self.names, "€".repeat(70)),
            Kind::Refused => format!("refuse {}", self.names),
        }
    }

    /// Compares, and settles what was not known.
    fn compare(&mut self, state: &[String]) -> Result<(), TestCaseError> {
        let mut rest = state.iter().peekable();
        for (entry, known) in &mut self.entries {
            let there = rest.next_if(|next| *next == entry).is_some();
            prop_assert!(there || *known != Known::Applied, "{} is lost", entry);
            prop_assert!(!there || *known != Known::NotApplied, "{} is there", entry);
            *known = if there { Known::Applied } else { Known::NotApplied };
        }
        prop_assert_eq!(rest.next(), None, "it came from nowhere, twice, or out of order");
        self.entries.retain(|(_, known)| *known == Known::Applied);
        Ok(())
    }
}

async fn live(db: &Arc<Faulty>, life: &Life, model: &Mutex<Model>) -> Result<(), TestCaseError> {
    let options = StandaloneOptions {
        snapshot_every: life.snapshot_every,
        snapshot_bytes: life.snapshot_bytes,
        ..Default::default()
    };
    let protocol = protocol(db, options);
    let list = loop {
        let list = List::new();
        match protocol.add_processor(list.clone()).await {
            Ok(()) => break list,
            Err(CpError::Unavailable(..)) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    };
    model.lock().compare(&list.state())?;
    for burst in &life.bursts {
        let (first, entries) = {
            let mut model = model.lock();
            let first = model.entries.len();
            let entries: Vec<_> = burst.iter().map(|kind| model.name(*kind)).collect();
            let known = |entry: &String| match entry.starts_with("refuse") {
                true => Known::NotApplied,
                false => Known::Maybe,
            };
            // Before it is sent: a crash may leave it there.
            model.entries.extend(entries.iter().map(|entry| (entry.clone(), known(entry))));
            (first, entries)
        };
        let answers = join_all(entries.iter().map(|entry| write(&protocol, entry))).await;
        let mut model = model.lock();
        for (at, answer) in answers.iter().enumerate() {
            let refused = entries[at].starts_with("refuse");
            model.entries[first + at].1 = match answer {
                Ok(count) => {
                    prop_assert_eq!(&list.state()[count.parse::<usize>().unwrap() - 1], &entries[at]);
                    prop_assert!(!refused);
                    Known::Applied
                }
                Err(CpError::Unconfirmed(..)) if !refused => Known::Maybe,
                Err(CpError::Unavailable(..) | CpError::Unconfirmed(..)) => Known::NotApplied,
                Err(CpError::Refused(_)) => {
                    prop_assert!(refused);
                    Known::NotApplied
                }
                Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
            };
        }
    }
    protocol.stop().await;
    Ok(())
}

#[test]
fn lives_end_and_nothing_that_was_confirmed_is_lost() {
    let crashes = AtomicUsize::new(0);
    let outcome = TestRunner::new(ProptestConfig::with_cases(40)).run(&vec(life(), 1..6), |lives| {
        let folder = tempfile::tempdir().unwrap();
        let model = Mutex::new(Model::default());
        // The last one finds what the others left.
        let last =
            Life { snapshot_every: 100, snapshot_bytes: 100_000, bursts: vec![vec![Kind::Short]], faults: vec![] };
        for life in lives.iter().chain([&last]) {
            // Its end takes the tasks with it, wherever they are.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let db = open(&folder);
            let fault = |planned: &Planned| match planned {
                Planned::Away => Fault::Refuse(StorageError::Unavailable("gone".to_owned())),
                Planned::Lost => Fault::Lost,
                Planned::LostButWritten => Fault::LostButWritten,
                Planned::LostThenWritten => Fault::LostThenWritten,
                Planned::Crash(written) => Fault::Crash(*written),
            };
            *db.by_number.lock() = life.faults.iter().map(|(number, planned)| (*number, fault(planned))).collect();
            runtime.block_on(async {
                tokio::select! {
                    ended = live(&db, life, &model) => ended,
                    () = db.crash.notified() => {
                        crashes.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    }
                }
            })?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(crashes.into_inner() > 10, "hardly anything was tried");
}
