//! Replicas don't rely on each other's clocks: with calendars years apart nothing is different.

use std::process::Command;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{replica::Replica, site::Plan};

impl Replica {
    /// What it takes for now.
    async fn calendar(&self) -> DateTime<Utc> {
        let issued = self.admin("POST", "/admin/keys", r#"{"name":"k"}"#).await;
        let body: Value = serde_json::from_slice(&issued.unwrap().body).unwrap();
        body["created_at"].as_str().unwrap().parse().unwrap()
    }
}

/// Where the library is that shows a process another time.
fn faketime() -> String {
    let asked = Command::new("faketime")
        .args(["-f", "+0", "printenv", "LD_PRELOAD"])
        .output();
    let found = asked.expect("faketime is installed").stdout;
    String::from_utf8(found).unwrap().trim().to_owned()
}

#[actix_web::test]
async fn replicas_whose_calendars_are_years_apart_agree_on_every_key() {
    let library = faketime();
    let site = Plan::replicas(3)
        .one(1, "LD_PRELOAD", &library)
        .one(1, "FAKETIME", "+400d")
        .one(2, "LD_PRELOAD", &library)
        .one(2, "FAKETIME", "-400d")
        // The other clock of a machine counts from its start, and nobody sets it.
        .all("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .open()
        .await;
    let [ahead, behind] = [&site.replicas[1], &site.replicas[2]];
    let apart = ahead.calendar().await - behind.calendar().await;
    assert!(apart.num_days() >= 799, "{apart}");
    site.under_load_and_no_change_fails(async {
        site.changes_pass(30).await;
        site.servers.strike("redis", "kill").await;
        site.lease_passes().await;
        site.changes_pass(30).await;
        site.servers.strike("redis", "start").await;
        site.redis_is_right_under_load().await;
    })
    .await;
}
