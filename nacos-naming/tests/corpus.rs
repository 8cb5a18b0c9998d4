//! The fuzz targets without a fuzzer: every file of `fuzz/corpus`, and some thousands of mutations of them, through
//! the functions that `cargo xtask fuzz` gives random bytes.
//!
//! The mutations are the same in every run. A failure names the input; put it into the corpus with the mend.

// Standard error is where a test tells what it failed on.
#![allow(clippy::print_stderr)]

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Inputs are cut to this, which is more than the largest file of a corpus.
const BYTES_MAX: usize = 4 * 1024;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("a readable file")))
        .collect();
    // The order of a folder is the file system's.
    files.sort();
    files
}

/// Runs each file and as many mutations of it.
fn run(target: &str, mutations: u32) {
    let (_, function) = targets::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let files = corpus(target);
    assert!(files.len() >= 10, "{target} has too few files to start from");
    for (path, bytes) in &files {
        assert!(bytes.len() <= BYTES_MAX, "{} is too long", path.display());
        check(*function, bytes, || format!("{}", path.display()));
    }
    let mut mutator = Mutator { random: 0x9e37_79b9_7f4a_7c15, files: &files };
    for (path, bytes) in &files {
        for n in 0..mutations {
            let mutated = mutator.mutate(bytes);
            check(*function, &mutated, || format!("mutation {n} of {}: {}", path.display(), mutated.escape_ascii()));
        }
    }
}

fn check(function: fn(&[u8]), input: &[u8], name: impl FnOnce() -> String) {
    if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| function(input))) {
        eprintln!("the input was {}", name());
        panic::resume_unwind(cause);
    }
}

/// Changes bytes as fuzzers do: a few small edits, each at a random place. xorshift64* decides.
struct Mutator<'a> {
    random: u64,
    files: &'a [(PathBuf, Vec<u8>)],
}

impl Mutator<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        high as usize % end.max(1)
    }

    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        /// What the formats give a meaning to.
        const WORDS: [&[u8]; 18] = [
            b"CONSUMER.label.",
            b"PROVIDER.label.",
            b"CONSUMER",
            b"PROVIDER",
            b"label",
            b".",
            b"=",
            b"&",
            b" ",
            b"+",
            b"%",
            b"%25",
            b"%-",
            b"\"",
            b"{",
            b"}",
            b"\xc2\x85",
            b"\xff",
        ];
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 => drop(bytes.drain(at..end)),
                3 => drop(bytes.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
                4 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, copy);
                }
                5 => bytes.truncate(at),
                _ => {
                    let other = &self.files[self.below(self.files.len())].1;
                    let from = self.below(other.len() + 1);
                    let until = (from + self.below(64)).min(other.len());
                    bytes.splice(at..end, other[from..until].iter().copied());
                }
            }
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }
}

#[test]
fn selector_expression() {
    run("selector_expression", 2_000);
}

/// A target without a test here, or a folder without a target, is one that nobody runs.
#[test]
fn every_target_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |sub: &str| {
        let mut names: Vec<String> = fs::read_dir(folder.join(sub))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let targets = targets::TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    let this_file = include_str!("corpus.rs");
    for name in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in the manifest");
        assert!(this_file.contains(&format!("run(\"{name}\", ")), "{name} has no test");
    }
}
