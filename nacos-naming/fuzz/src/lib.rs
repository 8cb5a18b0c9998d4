//! What the fuzz targets do with an input, and what must hold of what comes out.
//!
//! Each module has one `run`, which panics when something does not hold. This file is also a module of
//! `tests/corpus.rs`, which runs the same functions over the corpora without a fuzzer; so it may use the public
//! items of the crate and nothing else.

// Public for the fuzzer's programs; nobody's outside a test.
#![cfg_attr(test, allow(unreachable_pub))]

pub mod selector_expression;

/// A target: its name, which is also that of its corpus folder, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 1] = [("selector_expression", selector_expression::run)];
