//! `ADMIN_LISTEN_ADDR`: operators at an address of their own.

use serde_json::json;

use crate::support::{
    client::Request, gateway::TestGateway, provider::ScriptedProvider, script::Answer,
};

#[actix_rt::test]
async fn operators_at_an_address_of_their_own_are_nowhere_else() {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    let gateway = TestGateway::start_with(&[("ADMIN_LISTEN_ADDR", "127.0.0.1:0")]).await;
    let operators = gateway.admin_address().unwrap();
    assert_ne!(operators, gateway.address());

    // What is changed there counts here at once.
    gateway.serve("m", &provider).await;
    let key = gateway.user_key().await;
    let ask = Request::post("/v1/chat/completions")
        .bearer(&key)
        .value(&json!({"model": "m"}));
    assert_eq!(ask.send_to(gateway.address()).await.status(), 200);
    assert_eq!(ask.send_to(operators).await.error_code(), "unknown_url");

    for path in ["/admin/keys", "/admin/audit", "/admin/nothing"] {
        let request = Request::get(path).bearer(crate::support::gateway::ADMIN_KEY);
        let answer = request.send_to(gateway.address()).await;
        assert_eq!(
            (answer.status(), answer.error_code().as_str()),
            (404, "unknown_url")
        );
    }
    for address in [operators, gateway.address()] {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(Request::get(path).send_to(address).await.status(), 200);
        }
    }
}

#[actix_rt::test]
async fn both_addresses_stop_together() {
    let mut gateway = TestGateway::start_with(&[("ADMIN_LISTEN_ADDR", "127.0.0.1:0")]).await;
    let operators = gateway.admin_address().unwrap();
    gateway.ask_to_stop().await;
    assert!(gateway.ended().await, "{}", gateway.log());
    for address in [operators, gateway.address()] {
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
