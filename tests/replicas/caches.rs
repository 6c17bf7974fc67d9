//! Redis holds what the database holds, and is believed only as far as it can be.

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    cable::Cable,
    site::{Issued, MODEL, Site, hash, hashes},
    support::soon,
};

#[actix_web::test]
async fn redis_holds_just_the_active_hashes_and_routes_after_every_admin_call() {
    let site = Site::new().await;
    let replica = site.replica(&[]).await;
    let admin = replica.gateway.admin();
    let mut redis = site.redis().await;
    redis.whole().await;
    assert!(redis.keys().await.is_empty() && redis.models().await.is_empty());

    let provider = replica
        .gateway
        .serve_from(MODEL, &site.provider.base_url())
        .await;
    assert_eq!(redis.models().await, [MODEL]);
    let (first, second) = (replica.issue().await, replica.issue().await);
    assert_eq!(
        redis.keys().await,
        hashes([first.key.as_str(), &second.key])
    );
    let callers = |keys: [(&str, &Issued, &str); 2]| {
        let mut callers =
            keys.map(|(plain, key, name)| format!("{} {} {name}", hash(plain), key.id));
        callers.sort();
        callers
    };
    let expected = callers([(&first.key, &first, "k"), (&second.key, &second, "k")]);
    assert_eq!(redis.callers().await, expected);
    replica.rename(&second, "two words").await;
    let expected = callers([
        (&first.key, &first, "k"),
        (&second.key, &second, "two words"),
    ]);
    assert_eq!(redis.callers().await, expected);

    let rotate = format!("/admin/keys/{}/rotate", first.id);
    let rotated = admin.post(&rotate, json!({})).await.text_of("key");
    assert_eq!(redis.keys().await, hashes([rotated.as_str(), &second.key]));
    let expected = callers([(&rotated, &first, "k"), (&second.key, &second, "two words")]);
    assert_eq!(redis.callers().await, expected);
    replica.revoke(&second).await;
    assert_eq!(redis.keys().await, hashes([rotated.as_str()]));
    let expected = format!("{} {} k", hash(&rotated), first.id);
    assert_eq!(redis.callers().await, [expected]);

    let path = format!("/admin/providers/{provider}");
    let before = redis.route(MODEL).await["api_key"].clone();
    admin
        .put(&path, json!({"api_key": "its-next-key-0123"}))
        .await;
    // Sealed or not, as the gateways under test have it.
    assert_ne!(redis.route(MODEL).await["api_key"], before);
    admin.put(&path, json!({"is_active": false})).await;
    assert!(redis.models().await.is_empty());
    admin.put(&path, json!({"is_active": true})).await;
    assert_eq!(redis.models().await, [MODEL]);

    let model = admin.get("/admin/models").await.json();
    let path = format!("/admin/models/{}", model[0]["id"].as_str().unwrap());
    admin.put(&path, json!({"name": "n"})).await;
    assert_eq!(redis.models().await, ["n"]);
    admin.delete(&path).await;
    assert!(redis.models().await.is_empty());
}

#[actix_web::test]
async fn redis_is_full_again_after_it_was_emptied() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let key = replica.issue().await;
    let mut redis = site.redis().await;
    for _ in 0..3 {
        redis.whole().await;
        redis.empty().await;
        assert_eq!(replica.status(&key.key).await, 200);
        redis.holds(&[&key.key]).await;
        assert_eq!(redis.models().await, [MODEL]);
    }
}

#[actix_web::test]
async fn another_replica_answers_from_redis_and_hears_of_every_change() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let key = one.issue().await;
    other.answers(&key.key, 200).await;
    one.revoke(&key).await;
    other.answers(&key.key, 401).await;
    assert_eq!(one.status(&key.key).await, 401);

    // A model that was remembered as unknown is served once it is mapped elsewhere.
    let key = one.issue().await;
    other.answers(&key.key, 200).await;
    assert_eq!(other.ask_for(&key.key, "later").await.status(), 404);
    one.gateway.serve("later", &site.provider).await;
    soon("the new model to be served", async {
        while other.ask_for(&key.key, "later").await.status() != 200 {}
    })
    .await;
}

#[actix_web::test]
async fn whose_a_key_is_every_tier_tells_and_a_rename_reaches_them_all() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let key = one.issue().await;
    // From Redis, or the database, and then from memory.
    for _ in 0..2 {
        one.calls(&key, "k").await;
        other.calls(&key, "k").await;
    }
    one.rename(&key, "renamed").await;
    assert_eq!(one.status(&key.key).await, 200);
    one.gateway.logged(&key.logged_as("renamed")).await;
    other.calls(&key, "renamed").await;
    // By hand: the log tells of it all the same. A name with a line break stays in one line.
    site.storage
        .execute("UPDATE user_keys SET name = 'by' || chr(10) || 'hand'")
        .await;
    for replica in [&one, &other] {
        replica.calls(&key, r#""by\nhand""#).await;
    }

    // Each of the lower tiers alone.
    let (first, second) = (one.issue().await, one.issue().await);
    other.to_redis.cut();
    other.calls(&first, "k").await;
    other.to_redis.mend();
    site.redis()
        .await
        .holds(&[&key.key, &first.key, &second.key])
        .await;
    let (to_redis, to_database) = site.cables();
    to_database.cut();
    let fresh = site.replica_behind(to_redis, to_database, &[]).await;
    fresh.calls(&second, "k").await;
    fresh.calls(&key, r#""by\nhand""#).await;
}

/// As during an upgrade: it moves the mark, and leaves the callers as they were.
#[actix_web::test]
async fn callers_that_an_older_program_left_behind_are_not_believed() {
    let site = Site::new().await;
    let one = site.serving().await;
    let mut redis = site.redis().await;
    for _ in 0..10 {
        let key = one.issue().await;
        redis.whole().await;
        redis.set_caller("mark", "an older one").await;
        redis
            .set_caller(&hash(&key.key), &format!("{} stale", key.id))
            .await;
        one.calls(&key, "k").await;
        assert!(!one.gateway.log().contains("stale"));
        // Nor do they stay so.
        soon("the callers to be whole", async {
            while redis.callers().await.is_empty() {}
        })
        .await;
        one.revoke(&key).await;
    }
}

#[actix_web::test]
async fn a_caller_that_redis_lost_or_cannot_read_is_asked_for_in_the_database() {
    let site = Site::new().await;
    let one = site.serving().await;
    let mut redis = site.redis().await;
    for _ in 0..10 {
        let (lost, unreadable) = (one.issue().await, one.issue().await);
        redis.whole().await;
        redis.remove_caller(&hash(&lost.key)).await;
        redis
            .set_caller(&hash(&unreadable.key), "{\"form\": 2}")
            .await;
        one.calls(&lost, "k").await;
        one.calls(&unreadable, "k").await;
    }
}

#[actix_web::test]
async fn two_replicas_that_write_at_once_leave_redis_right() {
    let site = Site::new().await;
    let replicas = [site.serving().await, site.replica(&[]).await];
    let writing = (0..40).map(|index| {
        let replica = &replicas[index % 2];
        async move {
            let key = replica.issue().await;
            if index % 4 < 2 {
                replica.revoke(&key).await;
                return None;
            }
            Some(key.key)
        }
    });
    // As many at once as both have connections for; more would wait for one, and be refused.
    let kept: Vec<Option<String>> = stream::iter(writing).buffer_unordered(16).collect().await;
    let kept: Vec<String> = kept.into_iter().flatten().collect();
    let mut redis = site.redis().await;
    let expected: Vec<_> = kept.iter().map(String::as_str).collect();
    redis.holds(&expected).await;
    for key in &kept {
        for replica in &replicas {
            replica.answers(key, 200).await;
        }
    }
}

/// A change by a replica that can't reach Redis is not there yet, and has not been heard of by the
/// one that revokes.
#[actix_web::test]
async fn a_call_that_returned_is_in_redis_with_all_that_came_before_it() {
    let site = Site::new().await;
    let apart = site.serving().await;
    let listening = Cable::to(&site.storage.url());
    let url = listening.route(&site.storage.url());
    let replica = site.replica(&[("DATABASE_LISTEN_URL", &url)]).await;
    let mut redis = site.redis().await;
    redis.whole().await;
    apart.to_redis.cut();
    // Only now and then it reads the counter.
    listening.cut();
    for _ in 0..20 {
        let key = replica.issue().await;
        let unheard = apart.issue().await;
        replica.revoke(&key).await;
        let keys = redis.keys().await;
        assert!(!keys.contains(&hash(&key.key)) && keys.contains(&hash(&unheard.key)));
    }
}

/// An entry is lost (evicted, say) after the cache warmer has counted and before it writes.
#[actix_web::test]
async fn a_delta_does_not_hide_that_an_entry_was_lost() {
    let mut redis = Site::new().await.redis().await;
    let epoch = "6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e";
    let mark = format!("{epoch}:12:2:0");
    redis.add_key("held").await;
    redis.set_mark(&mark).await;
    let next = format!("{epoch}:13");
    assert!(!redis.apply_key(&mark, &next, "new").await);
    assert_eq!(redis.mark().await, Some(mark.clone()));
    redis.add_key("lost").await;
    assert!(redis.apply_key(&mark, &next, "new").await);
    assert_eq!(redis.mark().await, Some(format!("{next}:3:0")));
    redis.empty().await;
}

/// Somebody, a replica that slept or a failover to an older copy, puts back what was there.
#[actix_web::test]
async fn a_redis_that_is_behind_is_not_believed() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let mut redis = site.redis().await;
    for _ in 0..20 {
        let key = one.issue().await;
        let old_mark = redis.whole().await;
        one.revoke(&key).await;
        other
            .answers("sk-00000000-0000-4000-8000-000000000000", 401)
            .await;
        // `other` hears within milliseconds; `one` knows at once. Neither has the key in memory.
        redis.add_key(&hash(&key.key)).await;
        redis.set_mark(&old_mark).await;
        assert_eq!(one.status(&key.key).await, 401);
        redis.whole().await;
    }
}

#[actix_web::test]
async fn a_redis_that_lost_or_gained_entries_is_not_believed() {
    let site = Site::new().await;
    let one = site.serving().await;
    let mut redis = site.redis().await;
    let forged = "sk-11111111-1111-4111-8111-111111111111";
    for _ in 0..10 {
        let key = one.issue().await;
        redis.whole().await;
        redis.remove_key(&hash(&key.key)).await;
        assert_eq!(one.status(&key.key).await, 200);
        redis.add_key(&hash(forged)).await;
        redis
            .add_key(&hash("sk-22222222-2222-4222-8222-222222222222"))
            .await;
        assert_eq!(one.status(forged).await, 401);
    }
}

/// Two gateways with different databases were given the same prefix by mistake.
#[actix_web::test]
async fn contents_of_another_database_are_not_believed() {
    let (mine, theirs) = (Site::new().await, Site::new().await);
    let one = mine.serving().await;
    let their_replica = theirs.serving().await;
    let stranger = their_replica.issue().await;
    let mut redis = mine.redis().await;
    let their_mark = theirs.redis().await.whole().await;
    let key = one.issue().await;
    let mine_mark = redis.whole().await;
    assert_ne!(mine_mark.split(':').next(), their_mark.split(':').next());
    redis.empty().await;
    redis.add_key(&hash(&stranger.key)).await;
    let epoch = their_mark.split(':').next().unwrap();
    redis.set_mark(&format!("{epoch}:999:1:0")).await;
    assert_eq!(one.status(&stranger.key).await, 401);
    assert_eq!(one.status(&key.key).await, 200);
    redis.holds(&[&key.key]).await;
}

/// A backup was restored: the counter went back, and everything that was held is worth nothing.
#[actix_web::test]
async fn a_database_that_went_back_in_time_is_believed() {
    let site = Site::new().await;
    let one = site.serving().await;
    let key = one.issue().await;
    assert_eq!(one.status(&key.key).await, 200);
    site.restore_without_keys().await;
    one.answers(&key.key, 401).await;
    let mut redis = site.redis().await;
    redis.holds(&[]).await;
}

/// A newer version of this program may know more kinds of providers than this one.
#[actix_web::test]
async fn a_row_that_cannot_be_read_hides_nothing_else() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let key = one.issue().await;
    other.answers(&key.key, 200).await;
    site.storage
        .execute("INSERT INTO providers (id, name, kind, base_url, api_key) VALUES (gen_random_uuid(), 'new', 'of-tomorrow', 'http://localhost', 'k'); INSERT INTO models (id, name, provider_id) SELECT gen_random_uuid(), 'new', id FROM providers WHERE name = 'new'")
        .await;
    one.revoke(&key).await;
    other.answers(&key.key, 401).await;
    let new = one.issue().await;
    let mut redis = site.redis().await;
    redis.holds(&[&new.key]).await;
    other.answers(&new.key, 200).await;
    redis.empty().await;
    redis.holds(&[&new.key]).await;
    assert_eq!(redis.models().await, [MODEL]);
    assert_eq!(one.ask_for(&new.key, "new").await.status(), 404);
    let providers = one.gateway.admin().get("/admin/providers").await;
    assert_eq!(providers.json().as_array().unwrap().len(), 1);
}

/// The log has forgotten what changed meanwhile, so nothing that is held counts: memory is emptied,
/// and Redis is filled whole.
#[actix_web::test]
async fn a_replica_that_was_away_for_longer_than_the_log_reaches_starts_afresh() {
    let site = Site::new().await;
    let away = site.serving().await;
    let (kept, revoked) = (away.issue().await, away.issue().await);
    let mut redis = site.redis().await;
    redis.holds(&[&kept.key, &revoked.key]).await;
    for key in [&kept, &revoked] {
        assert_eq!(away.status(&key.key).await, 200);
    }
    away.to_redis.cut();
    away.to_database.cut();
    away.becomes(200, Some("degraded")).await;
    site.storage
        .execute("UPDATE user_keys SET is_active = FALSE WHERE id = (SELECT id FROM user_keys ORDER BY id DESC LIMIT 1); UPDATE models SET updated_at = now(); DELETE FROM changes")
        .await;
    away.to_redis.mend();
    away.to_database.mend();
    away.answers(&revoked.key, 401).await;
    redis.holds(&[&kept.key]).await;
    assert_eq!(away.status(&kept.key).await, 200);
}

#[actix_web::test]
async fn something_else_under_a_name_of_redis_is_replaced() {
    let site = Site::new().await;
    let one = site.serving().await;
    let key = one.issue().await;
    let mut redis = site.redis().await;
    for part in ["keys", "callers", "routes"] {
        redis.holds(&[&key.key]).await;
        redis.overwrite(part).await;
        assert_eq!(one.status(&key.key).await, 200);
        redis.holds(&[&key.key]).await;
    }
}

/// The log's counter came back to a number that Redis knows, with other contents behind it.
#[actix_web::test]
async fn a_fresh_process_fills_redis_anew_whatever_its_mark_says() {
    let site = Site::new().await;
    let one = site.serving().await;
    let key = one.issue().await;
    let mut redis = site.redis().await;
    redis.holds(&[&key.key]).await;
    drop(one);
    site.storage
        .execute("ALTER TABLE user_keys DISABLE TRIGGER ALL; DELETE FROM user_keys")
        .await;
    let _one = site.replica(&[]).await;
    redis.holds(&[]).await;
}

#[actix_web::test]
async fn a_process_that_starts_without_redis_fills_it_anew_once_it_is_back() {
    let site = Site::new().await;
    let one = site.serving().await;
    let key = one.issue().await;
    let mut redis = site.redis().await;
    redis.holds(&[&key.key]).await;
    drop(one);
    site.storage
        .execute("ALTER TABLE user_keys DISABLE TRIGGER ALL; DELETE FROM user_keys")
        .await;
    let (to_redis, to_database) = site.cables();
    to_redis.cut();
    let one = site.replica_behind(to_redis, to_database, &[]).await;
    one.answers(&key.key, 401).await;
    one.to_redis.mend();
    redis.holds(&[]).await;
}
