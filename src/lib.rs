//! One lightweight process in front of many LLM providers.

mod cache_warmer;
pub mod domain;
pub mod error;
pub mod settings;
pub mod storage;
