//! A running `meridian`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{eventually, pause};

/// Killed when it is dropped, and stopping by itself when this program ends.
pub(crate) struct Process {
    child: Child,
    /// The process stops when this closes.
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts the program with these arguments, and with nothing of this program's own `MERIDIAN_…`.
    pub(crate) fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::start_with(&[], arguments)
    }

    /// As [`Process::start`], with these variables.
    pub(crate) fn start_with<'a>(
        variables: &[(&str, &str)],
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut child = command()
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            stderr: Some(std::thread::spawn(move || read_all(stderr))),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Everything that is left to read on stdout.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        rest
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually("the process ends", within, || self.child.try_wait().unwrap())
    }

    /// What it wrote to stderr. Waits for its end.
    pub(crate) fn stderr(&mut self, within: Duration) -> String {
        self.wait(within);
        self.stderr.take().expect("asked for once").join().unwrap()
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self, within: Duration) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        self.wait(within)
    }

    /// As [`Process::stop`], but does not mind how it goes: for the end of a test that may be failing already.
    pub(crate) fn stop_quietly(&mut self, within: Duration) {
        self.close_stdin();
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < within {
            pause();
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program under test.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MERIDIAN_"))
    {
        command.env_remove(name);
    }
    command
}

/// Sends a signal to a process that this program started, or that one of those did.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Whether this process runs. One that has ended does not, even if nobody has waited for it yet.
pub(crate) fn is_alive(pid: u32) -> bool {
    let exists = test_kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap()).is_ok();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state is the first word after the name, which stands in parentheses.
    let has_ended = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    exists && !has_ended
}

fn read_all(mut stderr: ChildStderr) -> String {
    let mut bytes = Vec::new();
    let _ = stderr.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
