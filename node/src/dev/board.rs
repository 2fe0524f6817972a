//! How a development cluster looks: what is wrong, and one row per region. Decides what is written; writes nothing.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::node::{Life, Process};
use super::observe::{Seen, Sight};

/// The cluster at one instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    problems: Vec<String>,
    rows: Vec<Row>,
    now_ms: u64,
}

#[derive(Clone, Debug)]
struct Row {
    process: Process,
    sight: Sight,
}

const COLUMNS: [&str; 8] = ["REGION", "STATE", "PID", "ROLE", "TERM", "APPLIED", "VERSION", "FRESH"];

/// Clears what is left of the line, of the screen; goes to its first place.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const HOME: &str = "\x1b[H";

/// Unix milliseconds; 0 if this machine's clock stands before 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Board {
    /// `seen` tells of the same regions as `processes`, in the same order.
    pub(super) fn new(processes: Vec<Process>, seen: Seen, now_ms: u64) -> Self {
        let Seen { problems, sights } = seen;
        let rows = processes.into_iter().zip(sights).map(|(process, sight)| Row { process, sight });
        Self { problems, rows: rows.collect(), now_ms }
    }

    /// A line for each region in which something happened: a death, a start, another role, a new version; and for each
    /// problem that came or went. What changes all the time does not count.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<String> {
        let unchanged = |row: &&Row| before.rows.iter().any(|old| old.matter() == row.matter());
        let rows = self.rows.iter().filter(|row| !unchanged(row)).map(|row| row.line(self.now_ms));
        let came = self.problems.iter().filter(|problem| !before.problems.contains(problem));
        let went = before.problems.iter().filter(|problem| !self.problems.contains(problem));
        let came = came.map(|problem| format!("PROBLEM: {problem}"));
        let went = went.map(|problem| format!("over: {problem}"));
        rows.chain(came).chain(went).collect()
    }

    fn table(&self) -> String {
        let cells: Vec<[String; 8]> = self.rows.iter().map(|row| row.cells(self.now_ms)).collect();
        let width = |column: usize| {
            let cells = cells.iter().map(|row| row[column].chars().count());
            cells.chain([COLUMNS[column].len()]).max().unwrap_or_default()
        };
        let mut text = String::new();
        for row in std::iter::once(COLUMNS.map(str::to_owned)).chain(cells.iter().cloned()) {
            let padded = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
            let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        text
    }
}

impl Row {
    /// What is worth a line when it changes.
    fn matter(&self) -> (&Process, &str, u64, u64, &str, &str) {
        let Sight { role, term, version, service, problem, .. } = &self.sight;
        // A dead node's problem is told in other words by each who asks it.
        let problem = if self.is_alive() { problem } else { "" };
        (&self.process, role, *term, *version, service, problem)
    }

    fn is_alive(&self) -> bool {
        matches!(self.process.life, Life::Alive { .. })
    }

    fn cells(&self, now_ms: u64) -> [String; 8] {
        let sight = &self.sight;
        let number = |number: u64| if number == 0 { "-".to_owned() } else { number.to_string() };
        let region = self.process.region.to_string();
        match &self.process.life {
            Life::Dead { how } => {
                let [pid, role, term, applied, version, fresh] = std::array::from_fn(|_| "-".to_owned());
                [region, format!("dead ({how})"), pid, role, term, applied, version, fresh]
            }
            Life::Alive { pid } => [
                region,
                match (sight.service, sight.problem.as_str()) {
                    ("", "") => "alive".to_owned(),
                    // Out of service on purpose: what follows from it is no news.
                    ("", problem) => format!("alive, {problem}"),
                    (service, _) => format!("alive, {service}"),
                },
                pid.to_string(),
                if sight.role.is_empty() { "-".to_owned() } else { sight.role.clone() },
                number(sight.term),
                number(sight.applied_index),
                number(sight.version),
                age(sight.fresh_as_of_ms, now_ms),
            ],
        }
    }

    fn line(&self, now_ms: u64) -> String {
        let [region, state, pid, role, term, applied, version, fresh] = self.cells(now_ms);
        if !self.is_alive() {
            return format!("{region}: {state}");
        }
        format!(
            "{region}: {state}, pid {pid}, {role}, term {term}, applied {applied}, version {version}, fresh {fresh}"
        )
    }
}

/// How long ago; one decimal, since a healthy node is about a second old.
fn age(at_ms: u64, now_ms: u64) -> String {
    if at_ms == 0 {
        return "-".to_owned();
    }
    let tenths = now_ms.saturating_sub(at_ms) / 100;
    format!("{}.{} s ago", tenths / 10, tenths % 10)
}

/// A terminal's whole screen: the table, and below it `help`. Drawn over the one before, so that it does not flicker.
pub(super) fn screen(board: &Board, help: &str) -> String {
    let mut text = HOME.to_owned();
    let problems = board.problems.iter().map(|problem| format!("PROBLEM: {problem}"));
    let problems: Vec<String> = problems.collect();
    let problems = problems.iter().map(String::as_str);
    for line in problems.chain(board.table().lines()).chain([""]).chain(help.lines()) {
        let _ = write!(text, "{line}{CLEAR_LINE}\r\n");
    }
    text.push_str(CLEAR_BELOW);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW_MS: u64 = 1_760_000_010_000;

    fn alive(region: &str, pid: u32) -> Process {
        Process { region: region.parse().unwrap(), life: Life::Alive { pid } }
    }

    fn dead(region: &str) -> Process {
        Process {
            region: region.parse().unwrap(),
            life: Life::Dead { how: "signal: 9 (SIGKILL)".to_owned() },
        }
    }

    fn sight(role: &str, version: u64) -> Sight {
        Sight {
            role: role.to_owned(),
            term: 2,
            applied_index: 41,
            version,
            fresh_as_of_ms: NOW_MS - 1_250,
            service: "",
            problem: String::new(),
        }
    }

    fn board(rows: Vec<(Process, Sight)>) -> Board {
        let (processes, sights) = rows.into_iter().unzip();
        Board::new(processes, Seen { problems: Vec::new(), sights }, NOW_MS)
    }

    #[test]
    fn a_row_for_each_region() {
        let board = board(vec![
            (alive("us-east", 71), sight("leader", 3)),
            (dead("eu-west"), Sight { problem: "no answer".to_owned(), ..Sight::default() }),
            (alive("ap-south", 7_333), Sight { problem: "catching up".to_owned(), ..Sight::default() }),
            (
                alive("edge", 7_334),
                Sight { service: "drained", problem: "not ready".to_owned(), ..Sight::default() },
            ),
        ]);
        let expected = "\
REGION    STATE                        PID   ROLE    TERM  APPLIED  VERSION  FRESH
us-east   alive                        71    leader  2     41       3        1.2 s ago
eu-west   dead (signal: 9 (SIGKILL))   -     -       -     -        -        -
ap-south  alive, catching up           7333  -       -     -        -        -
edge      alive, drained               7334  -       -     -        -        -
";
        let squeeze = |text: &str| {
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&board.table()), squeeze(expected));
        let starts: Vec<_> = board.table().lines().map(|line| line.rfind("  ").unwrap()).collect();
        assert!(
            starts.windows(2).all(|pair| pair[0] == pair[1]),
            "columns do not line up:\n{}",
            board.table()
        );
    }

    #[test]
    fn a_screen_is_drawn_over_the_one_before() {
        let screen = screen(&board(vec![(alive("solo", 1), sight("leader", 1))]), "try this\n");
        assert!(screen.starts_with("\x1b[HREGION") && screen.ends_with("\x1b[J"));
        assert!(screen.lines().all(|line| line.ends_with("\x1b[K") || line == "\x1b[J"), "{screen:?}");
        assert!(screen.contains("try this"));
    }

    #[test]
    fn only_what_matters_makes_a_line() {
        let before = board(vec![(alive("a", 1), sight("leader", 1)), (alive("b", 2), sight("voter", 1))]);
        let check = |a: (Process, Sight), b: (Process, Sight), lines: &[&str]| {
            assert_eq!(board(vec![a, b]).changes_since(&before), lines);
        };
        let later = Sight { applied_index: 99, fresh_as_of_ms: NOW_MS, ..sight("leader", 1) };
        check((alive("a", 1), later), (alive("b", 2), sight("voter", 1)), &[]);
        check(
            (dead("a"), Sight::default()),
            (alive("b", 2), sight("leader", 1)),
            &[
                "a: dead (signal: 9 (SIGKILL))",
                "b: alive, pid 2, leader, term 2, applied 41, version 1, fresh 1.2 s ago",
            ],
        );
        assert_eq!(before.changes_since(&Board::default()).len(), 2);
    }

    #[test]
    fn problems_are_told_when_they_come_and_when_they_go() {
        let with = |problems: &[&str]| {
            let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
            let seen = Seen { problems, sights: vec![sight("voter", 1)] };
            Board::new(vec![alive("a", 1)], seen, NOW_MS)
        };
        let lost = with(&["quorum lost"]);
        assert_eq!(lost.changes_since(&with(&[])), ["PROBLEM: quorum lost"]);
        assert_eq!(lost.changes_since(&lost), Vec::<String>::new());
        assert_eq!(with(&[]).changes_since(&lost), ["over: quorum lost"]);
        assert!(screen(&lost, "").starts_with("\x1b[HPROBLEM: quorum lost\x1b[K"));
    }

    #[test]
    fn a_dead_node_is_told_of_once() {
        let dead_with = |problem: &str| {
            board(vec![(dead("a"), Sight { problem: problem.to_owned(), ..Sight::default() })])
        };
        assert_eq!(dead_with("refused").changes_since(&dead_with("no answer in time")), Vec::<String>::new());
    }
}
