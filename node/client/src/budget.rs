//! How many requests a client may add to those it was asked for.
//!
//! Retries and hedges make a struggling cluster struggle more. A bucket gives each of them a share of the calls, so that
//! what is added stays in proportion, whatever fails.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// A token bucket. Over any time in which `n` calls are made, at most `capacity + n * share + seconds * rate` tokens
/// are taken.
pub(crate) struct Budget {
    share: f64,
    rate: f64,
    capacity: f64,
    state: Mutex<State>,
}

struct State {
    tokens: f64,
    filled_at: Instant,
}

impl Budget {
    /// Second attempts at calls that may still be answered. One call in ten; the burst is what a region that falls
    /// silent under a thousand calls a second needs until it is seen. Few to begin with, so that a short run keeps the
    /// proportion too.
    pub(crate) fn of_hedges() -> Self {
        Self::new(0.1, 0.0, 200.0, 10.0)
    }

    /// Attempts after a failed one. One call in five; and ten a second, so that a client which makes few calls may
    /// repeat each of them.
    pub(crate) fn of_retries() -> Self {
        Self::new(0.2, 10.0, 200.0, 200.0)
    }

    fn new(share: f64, rate: f64, capacity: f64, tokens: f64) -> Self {
        Self { share, rate, capacity, state: Mutex::new(State { tokens, filled_at: Instant::now() }) }
    }

    /// A call was made.
    pub(crate) fn earn(&self) {
        self.change(|tokens| *tokens = (*tokens + self.share).min(self.capacity));
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&self) -> bool {
        self.change(|tokens| {
            let enough = *tokens >= 1.0;
            if enough {
                *tokens -= 1.0;
            }
            enough
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut f64) -> T) -> T {
        // A number is sound even after a panic elsewhere.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let trickle = now.duration_since(state.filled_at).as_secs_f64() * self.rate;
        state.tokens = (state.tokens + trickle).min(self.capacity);
        state.filled_at = now;
        change(&mut state.tokens)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// `true` is a call, `false` a wish for a token.
        #[test]
        fn no_stretch_of_calls_gets_more_than_its_share(steps in prop::collection::vec(any::<bool>(), 1..3_000)) {
            let budget = Budget::new(0.1, 0.0, 5.0, 2.0);
            let (mut calls, mut taken) = (0_u32, 0_u32);
            for call in steps {
                if call {
                    calls += 1;
                    budget.earn();
                } else {
                    taken += u32::from(budget.take());
                }
                prop_assert!(f64::from(taken) <= 2.0 + f64::from(calls) * 0.1 + 1e-6, "{taken} for {calls}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_come_with_time_up_to_the_capacity() {
        let budget = Budget::new(0.0, 10.0, 3.0, 0.0);
        assert!(!budget.take());
        tokio::time::advance(std::time::Duration::from_millis(150)).await;
        assert!(budget.take() && !budget.take());
        tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
        assert_eq!((0..10).filter(|_| budget.take()).count(), 3);
    }
}
