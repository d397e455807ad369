//! What every engine promises. A new engine is one factory and one line at the end.

mod basics;
mod concurrent;
mod leases;
mod limits;
mod lists;
mod txns;
mod watches;

use std::sync::Arc;

use reeve::base::clock::{Clock, TestClock};
use reeve::store::embedded::Options;
use reeve::store::{Embedded, HistoryLimits, Memory, Store};
use tempfile::TempDir;

/// An engine under test, with the clock it goes by and what must outlive it.
struct Bench {
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
    _dir: Option<TempDir>,
}

/// Makes empty stores of one engine.
trait Factory {
    /// An empty store that keeps so much history.
    fn with_history(&self, history: HistoryLimits) -> Bench;

    /// An empty store.
    fn empty(&self) -> Bench {
        self.with_history(HistoryLimits::default())
    }
}

struct Memories;

impl Factory for Memories {
    fn with_history(&self, history: HistoryLimits) -> Bench {
        let clock = super::clock();
        Bench { store: Arc::new(Memory::new(clock.clone(), history)), clock, _dir: None }
    }
}

struct Directories;

impl Factory for Directories {
    fn with_history(&self, history: HistoryLimits) -> Bench {
        let clock = super::clock();
        let dir = tempfile::tempdir().unwrap();
        // Snapshots come often, so that the contract holds while they are written.
        let options = Options { history, snapshot_after_bytes: 16 * 1024, ..Options::default() };
        let store = Embedded::open(dir.path(), options, clock.clone() as Arc<dyn Clock>).unwrap();
        Bench { store: Arc::new(store), clock, _dir: Some(dir) }
    }
}

/// One test for each case, in a module named after the engine.
macro_rules! suite {
    ($engine:ident, $factory:expr, $($group:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        mod $engine {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$group::$case(&$factory).await;
                }
            )*)*
        }
    };
}

macro_rules! suites {
    ($($engine:ident = $factory:expr),* $(,)?) => {
        $(suite! { $engine, $factory,
            basics: [
                a_new_store_is_empty,
                a_put_can_be_read,
                a_put_says_created_modified_and_version,
                a_second_put_keeps_created,
                a_deleted_entry_is_gone,
                a_key_made_again_starts_anew,
                deleting_nothing_changes_nothing,
                the_same_value_again_is_a_change,
                an_empty_value_is_a_value,
                values_are_any_bytes,
                keys_are_any_text,
                put_if_absent_makes_only_once,
                put_if_at_needs_the_exact_revision,
                put_if_at_refuses_an_absent_key,
                delete_if_needs_the_exact_revision,
                delete_if_refuses_an_absent_key,
                a_conflict_says_what_and_how,
            ],
            txns: [
                a_transaction_has_one_revision,
                a_failed_check_does_nothing_at_all,
                every_check_must_hold,
                a_check_may_be_on_a_key_that_is_not_changed,
                a_transaction_moves_an_entry,
                checks_alone_change_nothing,
                an_empty_transaction_changes_nothing,
                only_real_deletes_count,
                a_key_is_not_changed_twice,
                a_failed_transaction_takes_no_revision,
            ],
            lists: [
                a_list_is_in_key_order,
                a_prefix_is_bytes,
                a_trailing_slash_leaves_neighbours_out,
                the_empty_prefix_finds_all,
                a_prefix_may_be_a_whole_key,
                a_prefix_that_finds_nothing_has_a_revision,
                a_prefix_of_the_last_characters,
                a_list_is_of_one_moment,
            ],
            watches: [
                a_watch_sees_what_comes,
                a_watch_sees_what_was,
                a_watch_after_the_list_misses_nothing,
                a_watch_sees_only_its_prefix,
                a_commit_is_one_item,
                a_commit_is_cut_to_the_prefix,
                a_watch_goes_on_where_another_stopped,
                deletes_are_seen,
                what_failed_is_not_seen,
                a_watch_of_now_waits,
                too_far_back_is_compacted,
                the_oldest_is_still_there,
                too_many_bytes_are_compacted_too,
                a_slow_watcher_is_told,
                a_revision_of_the_future_is_refused,
                a_dropped_store_ends_its_watches,
                writers_in_parallel_are_seen_in_order,
                many_watchers_see_the_same,
            ],
            leases: [
                a_lease_is_held_by_one,
                a_lease_ends_by_itself,
                a_renewed_lease_lasts,
                an_ended_lease_is_not_renewed,
                a_released_lease_is_free,
                an_old_release_takes_nothing_from_the_new_holder,
                the_same_owner_takes_over,
                a_lease_takes_no_revision,
                a_lease_too_short_is_refused,
                keeping_ends_when_the_lease_is_lost,
                of_many_one_gets_it,
            ],
            limits: [
                four_mebibytes_fit,
                the_largest_value_fits,
                a_larger_value_is_refused,
                a_larger_transaction_is_refused,
                too_many_operations_are_refused,
                a_long_key_is_refused,
                a_bad_key_is_refused,
            ],
            concurrent: [
                a_thousand_writers,
                a_thousand_increments,
                one_of_many_wins,
                readers_see_whole_transactions,
            ],
        })*
    };
}

suites! { memory = super::Memories, embedded = super::Directories }
