//! The outermost layer: counts every call, and ends every stream when the node stops.
//!
//! Some clients never come back after a stream that ended with OK, and most do after `UNAVAILABLE`. So no stream
//! ends by itself because the node stops: one that waits for something to send is given that status here, whichever
//! service it belongs to. Config streams have been ended before, each at its own moment (`service`); this is for the
//! rest. Single calls are left to finish, and answered for as long as somebody manages to make them.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use prost::Message as _;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::metrics::{Call, Method, Metrics};
use super::status;

/// The layer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Observe {
    metrics: Metrics,
    stopping: CancellationToken,
    methods: Methods,
}

impl Observe {
    pub(super) fn new(metrics: Metrics, stopping: CancellationToken, methods: Methods) -> Self {
        Self { metrics, stopping, methods }
    }
}

/// The methods that are counted by name. What clients ask for is theirs to choose, so the rest shares one label.
#[derive(Clone)]
pub(super) struct Methods {
    by_path: Arc<HashMap<String, Arc<str>>>,
    other: Arc<str>,
}

impl Methods {
    /// The methods of these services, as far as the encoded descriptor sets describe them.
    pub(super) fn of(services: &[&str], descriptor_sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for encoded in descriptor_sets {
            for file in prost_types::FileDescriptorSet::decode(*encoded)?.file {
                for service in &file.service {
                    let full_name = format!("{}.{}", file.package(), service.name());
                    if !services.contains(&&*full_name) {
                        continue;
                    }
                    for method in &service.method {
                        let name = format!("{full_name}/{}", method.name());
                        by_path.insert(format!("/{name}"), name.into());
                    }
                }
            }
        }
        Ok(Self { by_path: Arc::new(by_path), other: "other".into() })
    }

    fn label(&self, path: &str) -> Arc<str> {
        self.by_path.get(path).unwrap_or(&self.other).clone()
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

/// A service whose calls are observed.
#[derive(Clone)]
pub(super) struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S, B> Service<Request<B>> for Observed<S>
where
    S: Service<Request<B>, Response = Response<tonic::body::Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<ObservedBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Observe { metrics, stopping, methods } = &self.observe;
        let method = methods.label(request.uri().path());
        let stopping = stopping.clone();
        let began = Instant::now();
        let seconds = metrics.seconds.get_or_create_owned(&Method { method: method.clone() });
        let mut tally = Tally { metrics: metrics.clone(), method, code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            seconds.observe(began.elapsed().as_secs_f64());
            // An answer without a body has its status in the headers.
            tally.read(response.headers());
            Ok(response.map(|inner| ObservedBody {
                inner,
                tally,
                stopping: Stopping::Idle(stopping),
                ended: false,
            }))
        })
    }
}

/// Counts one call when it is over, however it ends.
struct Tally {
    metrics: Metrics,
    method: Arc<str>,
    code: Option<Code>,
}

impl Tally {
    fn read(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // Without a status the client went away, or its deadline passed.
        let code = code_name(self.code.unwrap_or(Code::Cancelled));
        self.metrics.calls.get_or_create(&Call { method: self.method.clone(), code }).inc();
    }
}

/// A response body that is counted at its end, and that ends when the node stops.
pub(super) struct ObservedBody {
    inner: tonic::body::Body,
    tally: Tally,
    stopping: Stopping,
    ended: bool,
}

/// Only streams wait, so only they pay for listening.
enum Stopping {
    Idle(CancellationToken),
    Listening(Pin<Box<WaitForCancellationFutureOwned>>),
}

impl Stopping {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Idle(token) = self {
            *self = Self::Listening(Box::pin(token.clone().cancelled_owned()));
        }
        match self {
            Self::Listening(cancelled) => cancelled.as_mut().poll(context),
            Self::Idle(_) => Poll::Pending,
        }
    }
}

impl Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Between two messages: no message is ever cut short here.
        let frame = match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.stopping.poll(context));
                let mut trailers = HeaderMap::new();
                let ended = status::stopping().add_header(&mut trailers);
                Some(ended.map(|()| Frame::trailers(trailers)))
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.tally.read(trailers);
                    self.ended = true;
                }
            }
            Some(Err(_)) | None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
