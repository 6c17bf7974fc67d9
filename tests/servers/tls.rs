//! PostgreSQL and Redis with TLS: whom the gateway trusts, and that it rather does without a server
//! than to trust anybody, or to speak in clear.

use std::{env, path::PathBuf, process::Stdio};

use redis::{Client, ClientTlsConfig, TlsCertificates};
use tokio::process::Command;

use crate::{
    server,
    site::{MODEL, Replica, Site},
    support::{gateway::ADMIN_KEY, storage::TestStorage},
    work_together,
};

/// The path of a file that `scripts/servers.sh` made.
fn file(name: &str) -> String {
    let path = PathBuf::from(server("TLS_FOLDER")).join(name);
    path.to_str().unwrap().to_owned()
}

/// The same server by a name that its certificate doesn't have.
fn by_another_name(url: &str) -> String {
    url.replace("localhost", "127.0.0.1")
}

/// An address with parameters.
fn with(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    url.to_string()
}

async fn encrypted_site() -> Site {
    Site::with(TestStorage::postgres_at(server("POSTGRES_TLS_URL")).await).await
}

/// This site's database, as the user who must show a certificate.
fn certified(site: &Site) -> String {
    let mut url = url::Url::parse(&server("POSTGRES_CERTIFIED_URL")).unwrap();
    url.set_path(url::Url::parse(&site.storage.url()).unwrap().path());
    url.to_string()
}

async fn on_database(site: &Site, url: &str, settings: &[(&str, &str)]) -> Replica {
    let mut all = vec![("DATABASE_URL", url)];
    all.extend(settings);
    site.replica(&all).await
}

#[actix_web::test]
async fn postgresql_is_reached_with_every_degree_of_tls() {
    let ca = file("ca.pem");
    let (cert, key) = (file("client.pem"), file("client.key"));
    let ca = ("sslrootcert", ca.as_str());
    let identity = [("sslcert", cert.as_str()), ("sslkey", &key)];
    let site = encrypted_site().await;
    let url = site.storage.url();
    let (elsewhere, certified) = (by_another_name(&url), certified(&site));
    let system = ("SSL_CERT_FILE", ca.1);
    let full = ("sslmode", "verify-full");
    let first = on_database(&site, &with(&url, &[full, ca]), &[]).await;
    first.gateway.serve(MODEL, &site.provider).await;
    for (url, settings) in [
        (with(&url, &[]), vec![]),
        (with(&elsewhere, &[("sslmode", "require")]), vec![]),
        (with(&elsewhere, &[("sslmode", "verify-ca"), ca]), vec![]),
        (with(&url, &[full]), vec![system]),
        (with(&url, &[("sslrootcert", "system")]), vec![system]),
        (
            with(&certified, &[full, ca, identity[0], identity[1]]),
            vec![],
        ),
    ] {
        let replica = on_database(&site, &url, &settings).await;
        work_together(&first, &replica).await;
    }
}

#[actix_web::test]
async fn a_postgresql_that_cannot_be_trusted_is_not_used_and_the_log_says_why() {
    let (ca, other) = (file("ca.pem"), file("other-ca.pem"));
    let (ca, other) = (
        ("sslrootcert", ca.as_str()),
        ("sslrootcert", other.as_str()),
    );
    let site = encrypted_site().await;
    let url = site.storage.url();
    let elsewhere = by_another_name(&url);
    let certified = certified(&site);
    let full = ("sslmode", "verify-full");
    let plain = env::var("DATABASE_URL").unwrap();
    for (url, words) in [
        (with(&url, &[full, other]), "UnknownIssuer"),
        (with(&url, &[full]), "UnknownIssuer"),
        // As libpq has it.
        (
            with(&url, &[("sslmode", "require"), other]),
            "UnknownIssuer",
        ),
        (
            with(&url, &[("sslmode", "verify-ca"), other]),
            "UnknownIssuer",
        ),
        (with(&elsewhere, &[full, ca]), "not valid for name"),
        (with(&url, &[("sslmode", "disable")]), "no encryption"),
        (with(&certified, &[full, ca]), "certificate"),
        (
            with(&plain, &[("sslmode", "require")]),
            "does not support TLS",
        ),
    ] {
        let replica = on_database(&site, &url, &[("REDIS_URL", "none")]).await;
        replica.gateway.logged(words).await;
        let log = replica.gateway.log();
        let lines = log.lines().filter(|line| line.contains("trying again"));
        assert_eq!(lines.count(), 1, "{log}");
        assert_eq!(replica.readiness().await.0, 503);
        let refused = replica.gateway.admin().get("/admin/keys").await;
        assert_eq!(refused.status(), 503);
        assert!(
            !refused.text().contains("certificate"),
            "{}",
            refused.text()
        );
    }
}

fn trusting(authority: &str) -> TlsCertificates {
    TlsCertificates {
        root_cert: Some(std::fs::read(file(authority)).unwrap()),
        client_tls: Some(ClientTlsConfig {
            client_cert: std::fs::read(file("client.pem")).unwrap(),
            client_key: std::fs::read(file("client.key")).unwrap(),
        }),
    }
}

#[actix_web::test]
async fn redis_is_reached_with_tls() {
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let (open, mutual) = (server("REDIS_TLS_URL"), server("REDIS_MUTUAL_TLS_URL"));
    let private = ("REDIS_CA_CERT", ca.as_str());
    for settings in [
        vec![("REDIS_URL", open.as_str()), private],
        vec![("REDIS_URL", open.as_str()), ("SSL_CERT_FILE", &ca)],
        vec![
            ("REDIS_URL", mutual.as_str()),
            private,
            ("REDIS_CLIENT_CERT", &cert),
            ("REDIS_CLIENT_KEY", &key),
        ],
    ] {
        let site = Site::new().await;
        let client = Client::build_with_tls(settings[0].1, trusting("ca.pem")).unwrap();
        let mut redis = site.redis_through(&client).await;
        let (one, other) = (site.replica(&settings).await, site.replica(&settings).await);
        one.gateway.serve(MODEL, &site.provider).await;
        work_together(&one, &other).await;
        let key = one.issue().await;
        other.answers(&key.key, 200).await;
        redis.whole().await;
        assert!(redis.keys().await.contains(&crate::site::hash(&key.key)));
        // Only Redis can tell.
        let new = one.issue().await;
        other.to_database.cut();
        assert_eq!(other.status(&new.key).await, 200);
    }
}

#[actix_web::test]
async fn a_redis_that_cannot_be_trusted_is_not_used_and_the_log_says_why() {
    let (ca, other) = (file("ca.pem"), file("other-ca.pem"));
    let open = server("REDIS_TLS_URL");
    let (mutual, elsewhere) = (server("REDIS_MUTUAL_TLS_URL"), by_another_name(&open));
    for (url, authority, words) in [
        (&open, Some(&other), "UnknownIssuer"),
        (&open, None, "UnknownIssuer"),
        (&elsewhere, Some(&ca), "not valid for name"),
        (&mutual, Some(&ca), "CertificateRequired"),
    ] {
        let mut settings = vec![("REDIS_URL", url.as_str())];
        settings.extend(authority.map(|path| ("REDIS_CA_CERT", path.as_str())));
        let site = Site::new().await;
        let replica = site.replica(&settings).await;
        replica.gateway.logged(words).await;
        replica.gateway.serve(MODEL, &site.provider).await;
        let key = replica.issue().await;
        assert_eq!(replica.status(&key.key).await, 200);
        let log = replica.gateway.log();
        let lines = log.lines().filter(|line| line.contains("redis: cannot"));
        assert_eq!(lines.count(), 1, "{log}");
    }
}

/// What is wrong on this side is no outage: it ends the start, with one line.
#[actix_web::test]
async fn a_file_that_cannot_be_used_ends_the_start() {
    let ca = file("ca.pem");
    let database = server("POSTGRES_TLS_URL");
    let redis = server("REDIS_TLS_URL");
    let full = ("sslmode", "verify-full");
    let missing = with(&database, &[full, ("sslrootcert", "/no/such.pem")]);
    let no_key = with(&database, &[full, ("sslcert", &ca), ("sslkey", &ca)]);
    for (settings, words) in [
        (
            vec![("DATABASE_URL", missing.as_str())],
            "DATABASE_URL: sslrootcert: /no/such.pem",
        ),
        (vec![("DATABASE_URL", &no_key)], "holds no private key"),
        (
            vec![("REDIS_URL", &redis), ("REDIS_CA_CERT", "/etc/hostname")],
            "REDIS_CA_CERT: /etc/hostname holds no certificate",
        ),
        (
            vec![("REDIS_URL", &redis), ("REDIS_CLIENT_CERT", &ca)],
            "REDIS_CLIENT_KEY",
        ),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
            .env_clear()
            .env("ADMIN_KEY", ADMIN_KEY)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(settings)
            .current_dir(tempfolder())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = crate::support::soon("the start to end", ended)
            .await
            .unwrap();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success(), "{log}");
        assert!(log.lines().last().unwrap().contains(words), "{log}");
    }
}

/// Where a gateway that should not start may write, if it does.
fn tempfolder() -> PathBuf {
    PathBuf::from(server("TLS_FOLDER"))
}
