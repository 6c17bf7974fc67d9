//! With one rule taken out, the checker finds a run that breaks a promise: each rule is needed, and
//! the model would notice if it were not followed.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    properties::{ACTIVE, AFTER_HEARING, AFTER_LEASE, AVAILABLE, FORWARD, GRACE, MARK, PUSHED},
    rules::Rules,
    scenarios::Scenario,
    world::Protocol,
};

/// Checks that without the rule the promise is broken in this scenario. `--nocapture` shows how.
#[allow(clippy::print_stdout, reason = "a run is worth reading")]
fn breaks(promise: &'static str, scenario: Scenario, take_out: fn(&mut Rules)) {
    let mut rules = Rules::ALL;
    take_out(&mut rules);
    let checker = Protocol::new(rules, scenario)
        .checker()
        .finish_when(HasDiscoveries::AnyOf(BTreeSet::from([promise])))
        .spawn_bfs()
        .join();
    let run = checker.assert_any_discovery(promise).into_actions();
    println!("not true that {promise}: {run:?}");
}

#[test]
fn without_the_fill_check_a_revoked_key_comes_back() {
    breaks(AFTER_HEARING, Scenario::without_redis(), |rules| {
        rules.fill_check = false
    });
}

#[test]
fn without_the_join_check_a_caller_gets_an_answer_from_before() {
    breaks(AFTER_HEARING, Scenario::without_redis(), |rules| {
        rules.join_check = false
    });
}

#[test]
fn without_an_end_of_joining_an_answer_outlives_the_lease() {
    breaks(AFTER_LEASE, Scenario::without_redis(), |rules| {
        rules.join_within_lease = false
    });
}

#[test]
fn without_the_lease_a_replica_that_hears_nothing_accepts_for_ever() {
    breaks(AFTER_LEASE, Scenario::revocation(), |rules| {
        rules.lease = false
    });
}

#[test]
fn with_a_lease_from_the_answer_it_lasts_too_long() {
    breaks(AFTER_LEASE, Scenario::revocation(), |rules| {
        rules.lease_from_question = false
    });
}

#[test]
fn renewed_before_it_is_invalidated_memory_is_trusted_too_early() {
    breaks(AFTER_LEASE, Scenario::revocation(), |rules| {
        rules.invalidate_before_renewal = false
    });
}

#[test]
fn without_the_dirty_rule_redis_brings_a_revoked_key_back() {
    breaks(AFTER_HEARING, Scenario::revocation(), |rules| {
        rules.dirty = false
    });
}

#[test]
fn invalidated_before_it_is_heard_an_older_redis_fills_memory() {
    breaks(AFTER_HEARING, Scenario::revocation(), |rules| {
        rules.hear_before_invalidate = false
    });
}

#[test]
fn unless_the_counter_is_news_at_once_an_older_redis_is_believed() {
    breaks(AFTER_HEARING, Scenario::database_lost(), |rules| {
        rules.counter_is_news = false
    });
}

#[test]
fn unless_what_was_ahead_empties_memory_the_key_comes_back() {
    breaks(AFTER_HEARING, Scenario::both_lost(), |rules| {
        rules.ahead_empties = false
    });
}

#[test]
fn without_asking_redis_again_a_look_up_is_answered_503() {
    breaks(AVAILABLE, Scenario::database_lost(), |rules| {
        rules.redis_again = false
    });
}

#[test]
fn acknowledged_before_the_warmer_is_told_the_key_still_works() {
    breaks(AFTER_HEARING, Scenario::revocation(), |rules| {
        rules.told_before_acknowledged = false
    });
}

#[test]
fn acknowledged_before_the_push_redis_is_behind() {
    breaks(PUSHED, Scenario::writers_race(), |rules| {
        rules.pushed_before_acknowledged = false
    });
}

#[test]
fn pushed_to_where_memory_stands_redis_stays_behind() {
    breaks(PUSHED, Scenario::writers_race(), |rules| {
        rules.push_to_known = false
    });
}

#[test]
fn without_compare_and_set_a_late_write_spoils_redis() {
    breaks(MARK, Scenario::writers_die(), |rules| {
        rules.compare_and_set = false
    });
}

#[test]
fn without_a_recount_a_delta_hides_a_lost_entry() {
    breaks(MARK, Scenario::writers_meet_a_harmed_redis(), |rules| {
        rules.recount = false
    });
}

#[test]
fn without_the_swap_check_a_late_warm_up_brings_the_key_back() {
    breaks(FORWARD, Scenario::writers_meet_an_empty_redis(), |rules| {
        rules.swap_check = false
    });
}

#[test]
fn without_the_count_a_lost_entry_refuses_an_active_key() {
    breaks(ACTIVE, Scenario::redis_harmed(), |rules| {
        rules.count = false
    });
}

#[test]
fn without_an_end_of_the_grace_it_lasts_for_ever() {
    breaks(GRACE, Scenario::both_lost(), |rules| {
        rules.grace_ends = false
    });
}

#[test]
fn without_another_epoch_numbers_are_used_twice() {
    breaks(
        PUSHED,
        Scenario::writers_meet_a_restored_database(),
        |rules| {
            rules.epoch = false;
            rules.restart_keeps_news = false;
        },
    );
}

#[test]
fn without_comparing_epochs_another_history_is_believed() {
    breaks(
        AFTER_HEARING,
        Scenario::restored_under_an_old_redis(),
        |rules| rules.same_epoch = false,
    );
}

#[test]
fn made_to_start_again_a_replica_forgets_what_it_knew() {
    breaks(AFTER_HEARING, Scenario::restored_and_noticed(), |rules| {
        rules.restart_keeps_news = false
    });
}

#[test]
fn without_its_own_commits_a_push_leaves_redis_behind_when_the_database_dies() {
    breaks(PUSHED, Scenario::writers_lose_the_database(), |rules| {
        rules.own_commits = false;
    });
}
