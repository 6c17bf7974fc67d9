//! One lightweight process in front of many LLM providers.

pub mod domain;
pub mod error;
pub mod settings;
