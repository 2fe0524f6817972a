//! Plain HTTP: configs for CDNs and SDKs on one listener, health and metrics on another.
//!
//! Errors are JSON, `{"error": …, "hint": …}`, with the way out in the hint.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

pub mod admin;
pub mod config;
mod listener;

pub use listener::{Bounds, serve};

/// An error as every route shows it.
fn error(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Response {
    (status, Json(json!({ "error": error.into(), "hint": hint.into() }))).into_response()
}
