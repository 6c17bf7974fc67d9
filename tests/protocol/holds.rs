//! With all its rules, the protocol keeps its promises in every state of every scenario, and each
//! scenario comes across what it is there for.

use stateright::{Checker, Model};

use crate::{rules::Rules, scenarios::Scenario, world::Protocol};

/// Walks through every state. `--nocapture` shows how many there are.
#[allow(clippy::print_stdout, reason = "the documentation quotes it")]
fn holds(scenario: Scenario) {
    let name = scenario.name;
    let checker = Protocol::new(Rules::ALL, scenario)
        .checker()
        .spawn_bfs()
        .join();
    println!(
        "{name}: {} states, {} steps between them, at most {} deep",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn a_revocation_holds_on_both_replicas() {
    holds(Scenario::revocation());
}

#[test]
fn a_revocation_holds_without_redis() {
    holds(Scenario::without_redis());
}

#[test]
fn a_new_key_works() {
    holds(Scenario::creation());
}

#[test]
fn a_rotation_changes_both_keys_at_once() {
    holds(Scenario::rotation());
}

#[test]
fn a_replica_that_loses_the_database_keeps_the_promises() {
    holds(Scenario::database_lost());
}

#[test]
fn a_replica_that_gets_the_database_back_keeps_the_promises() {
    holds(Scenario::database_back());
}

#[test]
fn cut_off_from_both_only_the_grace_is_an_exception() {
    holds(Scenario::both_lost());
}

#[test]
fn a_replica_that_has_redis_alone_goes_by_it() {
    holds(Scenario::divided());
}

#[test]
fn a_replica_that_starts_keeps_the_promises() {
    holds(Scenario::start());
}

#[test]
fn a_replica_that_starts_from_redis_keeps_the_promises() {
    holds(Scenario::start_without_the_database());
}

#[test]
fn a_caller_that_dies_at_any_step_leaves_nothing_stale() {
    holds(Scenario::caller_dies());
}

#[test]
fn a_redis_that_loses_an_entry_refuses_nobody() {
    holds(Scenario::redis_harmed());
}

#[test]
fn a_redis_that_goes_back_revives_no_key() {
    holds(Scenario::redis_goes_back());
}

#[test]
fn a_restored_backup_counts_as_the_truth() {
    holds(Scenario::restored());
}

#[test]
fn a_revocation_after_a_restored_backup_holds() {
    holds(Scenario::restored_and_noticed());
}

#[test]
fn a_revocation_under_an_old_redis_holds() {
    holds(Scenario::restored_under_an_old_redis());
}

#[test]
fn writers_that_race_leave_redis_right() {
    holds(Scenario::writers_race());
}

#[test]
fn writers_that_die_at_any_step_leave_redis_right() {
    holds(Scenario::writers_die());
}

#[test]
fn writers_that_lose_redis_leave_it_right() {
    holds(Scenario::writers_lose_redis());
}

#[test]
fn writers_that_lose_the_database_leave_redis_right() {
    holds(Scenario::writers_lose_the_database());
}

#[test]
fn writers_fill_an_empty_redis() {
    holds(Scenario::writers_meet_an_empty_redis());
}

#[test]
fn writers_mend_a_harmed_redis() {
    holds(Scenario::writers_meet_a_harmed_redis());
}

#[test]
fn writers_mend_an_older_redis() {
    holds(Scenario::writers_meet_an_older_redis());
}

#[test]
fn writers_notice_a_restored_database() {
    holds(Scenario::writers_meet_a_restored_database());
}
