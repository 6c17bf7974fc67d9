//! PostgreSQL behind PgBouncer in transaction mode, which lends a session out for one transaction
//! at a time: nothing that lives in a session is there the next time.

use futures_util::{StreamExt as _, stream};

use crate::{
    UNKNOWN_KEY, server,
    site::{MODEL, Replica, Site},
    work_together,
};

/// Each by its name, as it is configured by default and as many configure it.
const POOLERS: [&str; 2] = ["PGBOUNCER_URL", "PGBOUNCER_LENIENT_URL"];

/// This site's database, through a pooler.
fn through(pooler: &str, site: &Site) -> String {
    let direct = url::Url::parse(&site.storage.url()).unwrap();
    let mut pooled = url::Url::parse(&server(pooler)).unwrap();
    pooled.set_path(direct.path());
    pooled.to_string()
}

async fn serving(site: &Site, settings: &[(&str, &str)]) -> Replica {
    let replica = site.replica(settings).await;
    replica.gateway.serve(MODEL, &site.provider).await;
    replica
}

#[actix_web::test]
async fn behind_a_pooler_everything_works() {
    for pooler in POOLERS {
        let site = Site::new().await;
        let (pooled, direct) = (through(pooler, &site), site.storage.url());
        let settings = [
            ("DATABASE_URL", pooled.as_str()),
            ("DATABASE_LISTEN_URL", &direct),
        ];
        let (one, other) = (
            serving(&site, &settings).await,
            site.replica(&settings).await,
        );
        one.gateway.logged("go through a pooler").await;
        assert!(!one.gateway.log().contains("polled"));
        work_together(&one, &other).await;
        site.redis().await.whole().await;
    }
}

/// Several clients on few sessions: were a statement parsed in one and run in another, somebody
/// would get the answer to somebody else's question.
#[actix_web::test]
async fn look_ups_that_share_sessions_get_their_own_answers() {
    for pooler in POOLERS {
        let site = Site::new().await;
        let (pooled, direct) = (through(pooler, &site), site.storage.url());
        let settings = [
            ("DATABASE_URL", pooled.as_str()),
            ("DATABASE_LISTEN_URL", &direct),
            ("REDIS_URL", "none"),
            ("DATABASE_TIMEOUT", "20s"),
        ];
        let one = serving(&site, &settings).await;
        let mut keys = Vec::new();
        for _ in 0..20 {
            keys.push(one.issue().await.key);
        }
        // Nothing of it is in memory.
        let (cold, colder) = (site.replica(&settings).await, site.replica(&settings).await);
        let (cold, colder) = (&cold, &colder);
        let asking = (0..400).map(|index| {
            let replica = if index % 2 == 0 { cold } else { colder };
            let key = keys[index / 2 % keys.len()].clone();
            async move {
                let (answer, expected) = match index % 5 {
                    0 => {
                        let unknown = format!("{}{:012}", &UNKNOWN_KEY[..27], index);
                        (replica.ask(&unknown).await, 401)
                    }
                    1 => {
                        let model = format!("no-model-{index}");
                        (replica.ask_for(&key, &model).await, 404)
                    }
                    _ => (replica.ask(&key).await, 200),
                };
                assert_eq!(answer.status(), expected, "{index}: {}", answer.text());
            }
        });
        let asking = stream::iter(asking).buffer_unordered(40);
        asking.collect::<Vec<()>>().await;
    }
}

/// Migrations, and the reading of the counter, go through the pooler as well.
#[actix_web::test]
async fn without_a_direct_address_changes_are_polled_and_the_log_says_so() {
    for pooler in POOLERS {
        let site = Site::new().await;
        let pooled = through(pooler, &site);
        let settings = [("DATABASE_URL", pooled.as_str())];
        let (one, other) = futures_util::join!(site.replica(&settings), site.replica(&settings));
        one.gateway.serve(MODEL, &site.provider).await;
        one.gateway.logged("set DATABASE_LISTEN_URL").await;
        work_together(&one, &other).await;
        // Those who come later find the migrations done, in whatever session.
        let third = site.replica(&settings).await;
        work_together(&other, &third).await;
    }
}

#[actix_web::test]
async fn a_pooler_may_go_and_come_back() {
    for pooler in POOLERS {
        let site = Site::new().await;
        let to_pooler = crate::cable::Cable::to(&server(pooler));
        let pooled = to_pooler.route(&through(pooler, &site));
        let settings = [("DATABASE_URL", pooled.as_str())];
        let (one, other) = (
            serving(&site, &settings).await,
            site.replica(&settings).await,
        );
        let key = one.issue().await;
        other.answers(&key.key, 200).await;
        to_pooler.cut();
        for replica in [&one, &other] {
            assert_eq!(replica.status(&key.key).await, 200);
        }
        to_pooler.mend();
        crate::support::soon("admin calls to work again", async {
            while one.gateway.admin().get("/admin/keys").await.status() != 200 {}
        })
        .await;
        work_together(&one, &other).await;
    }
}
