//! A client that goes away takes its provider's request with it.

use super::{BODY, Scene, complaints};
use crate::support::{client::RawClient, script::Answer};

type Leave = fn(RawClient);

const WAYS: [Leave; 2] = [RawClient::leave, RawClient::reset];

#[actix_rt::test]
async fn a_client_that_leaves_before_the_answer_cancels_it() {
    let scene = Scene::start().await;
    for (connection, leave) in WAYS.into_iter().enumerate() {
        scene.provider.next(Answer::silent().hang());
        let client = scene.asking().await;
        scene.provider.request(connection).await;
        leave(client);
        scene.provider.client_left(connection).await;
    }
    assert_eq!(complaints(&scene.stop().await), [""; 0]);
}

#[actix_rt::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_cancels_it() {
    let scene = Scene::start().await;
    for (connection, leave) in WAYS.into_iter().enumerate() {
        scene.provider.next(Answer::stream().chunk("begun").hang());
        let mut client = scene.asking().await;
        client.read_head().await.unwrap();
        assert_eq!(client.next_data().await, b"begun");
        leave(client);
        scene.provider.client_left(connection).await;
    }
}

#[actix_rt::test]
async fn a_client_that_leaves_while_much_is_on_its_way_cancels_it() {
    let scene = Scene::start().await;
    for (connection, leave) in WAYS.into_iter().enumerate() {
        scene
            .provider
            .next(Answer::stream().flood("x".repeat(1 << 16), usize::MAX));
        let mut client = scene.asking().await;
        client.read_head().await.unwrap();
        client.next_data().await;
        leave(client);
        scene.provider.client_left(connection).await;
    }
}

#[actix_rt::test]
async fn a_client_that_leaves_while_its_body_is_sent_on_cancels_it() {
    let scene = Scene::start().await;
    let body = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(16 << 20));
    for (connection, leave) in WAYS.into_iter().enumerate() {
        scene.provider.next(Answer::before_body().hang());
        let mut client = scene.connect().await;
        client.send(scene.request(&body).to_bytes()).await.unwrap();
        scene.provider.head(connection).await;
        leave(client);
    }
    scene.provider.otherwise(|_| Answer::json(200, "{}"));
    assert_eq!(scene.ask(BODY).await.status(), 200);
}
