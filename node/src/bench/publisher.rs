//! One client in flight.

use std::ops::Range;
use std::time::Duration;

use meridian_client::Client;
use meridian_client::proto::admin::PublishRequest;
use meridian_client::proto::config::Format;
use tokio::time::{Instant, sleep};

use super::document::Document;
use super::tally::Tally;

/// After an error: a cluster that refuses at once must not be asked in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Numbers of one client, so that no two clients send the same document.
const NUMBERS: u64 = 1 << 32;

pub(super) struct Publisher {
    pub(super) client: Client,
    pub(super) project: String,
    pub(super) environment: String,
    pub(super) document: Document,
    /// Between an answer and the next publish.
    pub(super) pause: Duration,
}

impl Publisher {
    /// Publishes until the measured time is over; what began and ended in it counts.
    pub(super) async fn run(self, client_number: usize, measured: Range<Instant>) -> Tally {
        let mut tally = Tally::new();
        let mut number = client_number as u64 * NUMBERS;
        while Instant::now() < measured.end {
            number += 1;
            let message = PublishRequest {
                project: self.project.clone(),
                environment: self.environment.clone(),
                format: Format::Json.into(),
                document: self.document.numbered(number),
                ..Default::default()
            };
            let sent = Instant::now();
            let answer = self.client.publish(message).await;
            let ended = Instant::now();
            let counts = measured.contains(&sent) && measured.contains(&ended);
            match answer {
                Ok(_) if counts => tally.answered(ended - sent),
                Ok(_) => {}
                Err(error) => {
                    tally.failed(&error);
                    sleep(ERROR_PAUSE).await;
                }
            }
            if !self.pause.is_zero() {
                sleep(self.pause).await;
            }
        }
        tally
    }
}
