//! The caching protocol as a model, and a checker that walks through every state of it.
//!
//! The model follows `src/cache_warmer.rs` and `src/storage/` step by step; what it leaves out and
//! what it found is in `docs/ARCHITECTURE.md` ("The protocol, checked").
//!
//! - [`state`]: what there is. [`world`]: what can happen, to whom and when.
//! - [`caller`], [`hearing`], [`pushing`], [`looking_up`]: what a replica does at each step.
//! - [`rules`]: the protocol's rules, each of which can be taken out.
//! - [`properties`]: what must hold. [`scenarios`]: how much of the world is looked at at once.
//! - [`holds`] and [`mutants`]: the tests; with all rules, and with one rule less each.

mod caller;
mod hearing;
mod holds;
mod looking_up;
mod mutants;
mod properties;
mod pushing;
mod rules;
mod scenarios;
mod state;
mod world;
