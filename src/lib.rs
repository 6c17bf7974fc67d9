//! One lightweight process in front of many LLM providers: programs speak the OpenAI API to it
//! with a key that it issued, operators manage it through `/admin`.
//!
//! | module | does |
//! |---|---|
//! | [`application`] | opens storage, binds, serves, stops |
//! | [`settings`], [`telemetry`], [`stop_signal`] | the environment; the log; SIGTERM and SIGINT |
//! | [`server`] | clients' connections and their time limits; draining |
//! | `record` | what every request passes first: its id, its record, the access log |
//! | [`request_id`], [`unread_body`] | ids; request bodies that nobody reads |
//! | `endpoints`, `bearer` | what the scopes share: refused methods and paths; the token of a request |
//! | [`metrics`] | what is counted; `GET /metrics` |
//! | [`error`] | each failure of the gateway itself, with its status and body |
//! | [`domain`] | values that cannot be invalid |
//! | [`proxy`] | the data path, `/v1` |
//! | [`admin`] | the control API, `/admin` |
//! | [`storage`] | keys and routes: memory, Redis, database, behind one front |
//! | `cache_warmer` | the actor that keeps memory and Redis right |
//! | `openapi` | the API's description, and the page that shows it |
//! | `fail_points` | where tests can hold the process; not in an ordinary build |
//!
//! `proxy` and `admin` use `storage`; everything uses `domain`, which uses none of the others.

pub mod admin;
pub mod application;
mod bearer;
mod cache_warmer;
pub mod domain;
mod endpoints;
pub mod error;
mod fail_points;
mod health;
mod idle_timer;
pub mod metrics;
mod openapi;
pub mod proxy;
mod record;
pub mod request_id;
pub mod server;
pub mod settings;
pub mod stop_signal;
pub mod storage;
pub mod telemetry;
pub mod unread_body;

pub use self::{application::Application, settings::Settings, stop_signal::StopSignal};
