//! The HTTP API: what is shown of a running engine, and how it is told what to do; and the client that the commands talk to it with.
//!
//! A request passes, in this order:
//! - `connections`: a connection that nothing goes over is cut.
//! - `guard`: the host that is asked for, who asks from where, the token, the size.
//! - `map`: the path and the method; what stands there is in `probes`, `routes`, `history`, `events` and `openapi`, and in `console`.
//! - `ask`: the query and the body.
//!
//! Whatever is wrong is told as a [`problem`].

mod ask;
pub mod client;
mod connections;
mod console;
mod events;
mod guard;
mod history;
mod map;
mod openapi;
mod probes;
pub mod problem;
mod reload;
mod routes;
mod server;
mod stream;

pub use openapi::document;
pub use server::{Api, start};
