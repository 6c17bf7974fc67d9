//! Which addresses the gateway connects to.

use super::{BODY, Scene, refused};
use crate::support::script::Answer;

#[actix_rt::test]
async fn metadata_services_are_never_connected_to() {
    let scene = Scene::start().await;
    for (index, host) in [
        "169.254.169.254",
        // The same in other spellings.
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "0.0.0.0:1",
        "[::]:1",
    ]
    .into_iter()
    .enumerate()
    {
        for scheme in ["http", "https"] {
            let model = format!("m-{scheme}-{index}");
            let base_url = format!("{scheme}://{host}/latest");
            scene.gateway.serve_from(&model, &base_url).await;
            let response = scene.ask(format!(r#"{{"model":"{model}"}}"#)).await;
            let message = refused(&response, 502, "upstream_address_refused");
            assert!(message.contains("metadata"), "{message}");
            assert!(!message.contains("169.254"), "{message}");
        }
    }
    // The operator is told which address it is.
    let log = scene.stop().await;
    assert!(log.contains("169.254.169.254"), "{log}");
}

#[actix_rt::test]
async fn private_addresses_are_connected_to_unless_that_is_switched_off() {
    let scene = Scene::start_with(&[("ALLOW_PRIVATE_UPSTREAMS", "false")]).await;
    let by_name = scene.provider.base_url().replace("127.0.0.1", "localhost");
    scene.gateway.serve_from("named", &by_name).await;
    for model in ["m", "named"] {
        let response = scene.ask(format!(r#"{{"model":"{model}"}}"#)).await;
        let message = refused(&response, 502, "upstream_address_refused");
        assert!(message.contains("ALLOW_PRIVATE_UPSTREAMS"), "{message}");
    }
    assert_eq!(scene.provider.connection_count(), 0);

    let scene = Scene::start().await;
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    let by_name = scene.provider.base_url().replace("127.0.0.1", "localhost");
    scene.gateway.serve_from("named", &by_name).await;
    for body in [BODY, r#"{"model":"named"}"#] {
        assert_eq!(scene.ask(body).await.status(), 200);
    }
}

#[actix_rt::test]
async fn a_redirect_to_a_metadata_service_is_relayed_not_followed() {
    let scene = Scene::start().await;
    let location = ("location", "http://169.254.169.254/latest/meta-data");
    scene
        .provider
        .next(Answer::with_headers(307, &[location], ""));
    let response = scene.ask(BODY).await;
    assert_eq!(response.status(), 307);
    assert_eq!(response.header("location").as_deref(), Some(location.1));
    assert_eq!(scene.provider.request_count(), 1);
}
