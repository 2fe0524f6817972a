//! How a process is asked to stop: SIGTERM, SIGINT, or the end of stdin.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Resolves at the first signal; with `until_stdin_closes` also at the end of stdin. A second signal ends the process
/// at once, with code 1. Signals are caught from the moment this returns. Needs a runtime.
pub fn asked_to_stop(until_stdin_closes: bool) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (signalled, first_signal) = oneshot::channel();
    #[allow(clippy::disallowed_methods, reason = "whoever signals twice wants no graceful stop")]
    tokio::spawn(async move {
        next().await;
        // Nobody waits any more when stdin was first.
        let _ = signalled.send(());
        next().await;
        tracing::warn!("a second signal: ending at once");
        std::process::exit(1);
    });
    let stdin_end = if until_stdin_closes { Some(end_of_stdin()?) } else { None };
    Ok(async move {
        let stdin_ended = async {
            match stdin_end {
                Some(end) => end.await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = first_signal => {}
            () = stdin_ended => {}
        }
    })
}

/// On a thread of its own: tokio's stdin would keep the runtime from ending while a read hangs in it.
fn end_of_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // Whatever it fails with, nothing more will come.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    })?;
    Ok(end)
}
