//! The operator's subcommands of `meridian`: publish, look, roll back.
//!
//! A command is one or a few calls of `meridian-client`. What it brings becomes a *view*, which knows its two
//! forms: text for people, one line of JSON for programs. What goes wrong becomes a *problem*, which knows what to do
//! next and how to [`exit`].
//!
//! Stdout carries results only, so that it can be piped; notes and errors go to stderr.
//!
//! Left to others: reaching the cluster (`meridian-client`), and what is right in a document (the cluster checks).

#![forbid(unsafe_code)]

mod args;
pub mod exit;
mod names;
mod output;
mod parsed;
mod problem;
mod run;
mod secret;
mod source;
mod view;

pub use args::{Command, Global, OutputFormat};
pub use run::run;
