//! How a connection comes about, or doesn't, and what is sent over it.

use actix_http::body::BodyStream;
use rustls::RootCertStore;

use super::{super::client_config, *};

fn failure_of(outcome: Result<Reply, Trouble>) -> Failure {
    let trouble = outcome.unwrap_err();
    assert!(!trouble.is_stale);
    trouble.failure
}

over_tcp_and_tls! {
    async fn the_request_arrives_as_it_was_made(wire: Wire) {
        let echo = Provider::start(wire, |mut peer: Peer, _| async move {
            let request = peer.request().await?;
            peer.send(whole(&request.head)).await
        });
        let url = format!("{}?a=%20b&c", echo.url());
        let client = client_for(wire);
        let request = client.request(Method::POST, url.parse().unwrap()).insert_header(("x-own", "1"));
        let response = client.send(request, "hi").await.unwrap();
        let head = response.content.read(9_999).await.unwrap().unwrap();
        let head = String::from_utf8(head.to_vec()).unwrap();
        assert!(head.starts_with("POST /v1/chat/completions?a=%20b&c HTTP/1.1\r\n"), "{head}");
        assert_eq!(provider::header(&head, "x-own"), Some("1"));
        assert_eq!(provider::header(&head, "content-length"), Some("2"));
        assert_eq!(provider::header(&head, "host"), Some(&*format!("localhost:{}", echo.address.port())));
        assert_eq!(provider::header(&head, "user-agent"), None);
        assert_eq!(provider::header(&head, "accept-encoding"), None);
        assert_eq!(provider::header(&head, "connection"), None);
    }

    async fn what_speaks_of_the_connection_is_not_the_caller_s_to_say(wire: Wire) {
        let echo = Provider::start(wire, |mut peer: Peer, _| async move {
            let request = peer.request().await?;
            peer.send(whole(&request.head)).await
        });
        let client = client_for(wire);
        let url = echo.url().replace("localhost", "user:secret@localhost");
        let mut request = client.request(Method::POST, url.parse().unwrap());
        for (name, value) in [("connection", "x-own"), ("content-length", "9"), ("transfer-encoding", "chunked")] {
            request = request.insert_header((name, value));
        }
        let response = client.send(request, "hi").await.unwrap();
        let head = response.content.read(9_999).await.unwrap().unwrap();
        let port = echo.address.port();
        let expected = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(head, expected);
    }

    async fn small_pieces_of_a_body_and_large_ones_arrive_in_their_order(wire: Wire) {
        let provider = answering(wire, whole);
        let client = client_for(wire);
        for sizes in [&[1, 2, 3][..], &[1, 20_000, 1], &[20_000, 20_000], &[9_000, 9_000, 9_000, 90_000]] {
            let pieces: Vec<_> = sizes.iter().zip('a'..).map(|(&size, letter)| letter.to_string().repeat(size)).collect();
            let text = pieces.concat();
            let upload = in_pieces(text.len() as u64, pieces.into_iter().map(Bytes::from));
            let response = send(&client, &provider.url(), upload).await.unwrap();
            assert_eq!(response.content.read(200_000).await.unwrap().unwrap(), text);
        }
        assert_eq!(provider.connections(), 1);
    }

    async fn a_closed_port_is_told_as_such(wire: Wire) {
        let provider = answering(wire, whole);
        let url = provider.url();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let closed = url.replace(&provider.address.port().to_string(), &port.to_string());
        let outcome = post(&client_for(wire), &closed, "x").await;
        assert_eq!(failure_of(outcome), Failure::Connect(ConnectFailure::Tcp));
    }

    async fn a_body_of_unknown_length_is_refused(wire: Wire) {
        let provider = answering(wire, whole);
        let client = client_for(wire);
        let upload = BodyStream::new(futures_util::stream::empty::<Result<_, std::io::Error>>());
        let error = send(&client, &provider.url(), upload).await.unwrap_err();
        let failure = TransportError::of(&error).unwrap().failure();
        assert!(matches!(failure, Failure::BadRequest(_)));
        assert_eq!(provider.connections(), 0);
    }

    /// A provider would take the end of a body that is too long for the next request. Where only a
    /// further piece shows that it is, the provider may have what was declared.
    async fn a_body_that_is_not_as_long_as_it_said_ends_its_connection(wire: Wire) {
        let (told, tells) = std::sync::mpsc::channel();
        let provider = Provider::start(wire, move |mut peer: Peer, _| {
            let told = told.clone();
            async move {
                let is_whole = peer.request().await.is_ok();
                let _ = told.send(is_whole);
                peer.send(whole("taken")).await
            }
        });
        let client = client_for(wire);
        for (declared, may_arrive) in [(50_000, false), (30_000, false), (20_000, true)] {
            let upload = in_pieces(declared, ["x".repeat(20_000), "x".repeat(20_000)].map(Bytes::from));
            let error = send(&client, &provider.url(), upload).await.unwrap_err();
            let failure = TransportError::of(&error).unwrap().failure();
            assert!(matches!(failure, Failure::BadRequest(_)), "{failure:?}");
            assert!(may_arrive || !tells.recv_timeout(PATIENCE).unwrap(), "{declared}");
            assert_eq!(client.pool.idle(), 0);
        }
    }

    async fn head_and_connect_are_refused(wire: Wire) {
        let provider = answering(wire, whole);
        let client = client_for(wire);
        for method in ["HEAD", "CONNECT"] {
            let method = method.parse().unwrap();
            let request = client.request(method, provider.url().parse().unwrap());
            let error = client.send(request, ()).await.unwrap_err();
            let failure = TransportError::of(&error).unwrap().failure();
            assert!(matches!(failure, Failure::BadRequest(_)));
        }
        assert_eq!(body(&client, &provider.url(), "good").await, "good");
    }
}

#[actix_web::test]
async fn every_address_of_a_name_is_tried() {
    let provider = answering(Wire::Tcp, whole);
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [refused.local_addr().unwrap(), provider.address];
    drop(refused);
    let deadline = std::time::Instant::now() + PATIENCE;
    let tcp = super::super::connect::connect_to_any(&addresses, deadline).await;
    assert_eq!(tcp.unwrap().peer_addr().unwrap(), provider.address);
}

#[actix_web::test]
async fn a_certificate_that_nobody_trusts_is_refused() {
    let provider = answering(Wire::Tls, whole);
    let config = client_config(RootCertStore::empty()).unwrap();
    let distrustful = Client::new(
        Scheme::Https(config),
        Reuse::KeepAlive,
        PATIENCE,
        Reach::Private,
    );
    let outcome = post(&distrustful, &provider.url(), "x").await;
    assert_eq!(failure_of(outcome), Failure::Connect(ConnectFailure::Tls));
}

#[actix_web::test]
async fn a_certificate_for_another_name_is_refused() {
    let provider = answering(Wire::Tls, whole);
    let url = provider.url().replace("localhost", "127.0.0.1");
    let outcome = post(&client_for(Wire::Tls), &url, "x").await;
    assert_eq!(failure_of(outcome), Failure::Connect(ConnectFailure::Tls));
}

#[actix_web::test]
async fn a_provider_that_speaks_no_tls_is_told_as_such() {
    let provider = Provider::start(Wire::Tcp, |mut peer: Peer, _| async move {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await
    });
    let outcome = post(&client_for(Wire::Tls), &provider.url(), "x").await;
    assert_eq!(failure_of(outcome), Failure::Connect(ConnectFailure::Tls));
}

#[actix_web::test]
async fn a_handshake_that_never_ends_times_out() {
    let provider = Provider::start(Wire::Tcp, |mut peer: Peer, _| async move {
        peer.closed_by_client().await
    });
    let hasty = Client::new(
        scheme(Wire::Tls),
        Reuse::KeepAlive,
        Duration::from_millis(200),
        Reach::Private,
    );
    let outcome = post(&hasty, &provider.url(), "x").await;
    assert_eq!(
        failure_of(outcome),
        Failure::Connect(ConnectFailure::Timeout)
    );
}
