//! Which connections serve a second request, and what a request finds on one.

use std::sync::mpsc;

use actix_http::body::SizedStream;

use super::{
    super::{
        connect::Connector,
        pool::{Limits, Pool},
    },
    *,
};

const FIRST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst";
const SECOND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";

/// The first connection answers `first`, and sends `later` once the caller has that answer. Every
/// other request is answered rightly.
async fn assert_leftovers_go_to_nobody(wire: Wire, first: &'static str, later: &'static str) {
    let (go, goes) = tokio::sync::watch::channel(false);
    let (told, tells) = mpsc::channel();
    let provider = Provider::start(wire, move |mut peer: Peer, number| {
        let (mut goes, told) = (goes.clone(), told.clone());
        async move {
            if number == 0 {
                peer.request().await?;
                peer.send(first).await?;
                let _ = goes.wait_for(|go| *go).await;
                peer.send(later).await?;
                let _ = told.send(());
            }
            loop {
                let request = peer.request().await?;
                peer.send(whole(&request.text())).await?;
            }
        }
    });
    let client = client_for(wire);
    assert_eq!(body(&client, &provider.url(), "one").await, "first");
    go.send(true).unwrap();
    // Blocking on purpose: the runtime gets no turn in which to notice what arrives.
    tells.recv_timeout(PATIENCE).unwrap();
    assert_eq!(body(&client, &provider.url(), "two").await, "two");
    assert_eq!(body(&client, &provider.url(), "three").await, "three");
    assert_eq!(provider.connections(), 2);
}

over_tcp_and_tls! {
    async fn a_connection_serves_many_requests(wire: Wire) {
        for answer in [
            whole as fn(&str) -> String,
            chunked,
            |_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            |_| "HTTP/1.1 429 Slow down\r\ncontent-length: 0\r\n\r\n".to_owned(),
            |_| "HTTP/1.1 304 Not Modified\r\netag: 1\r\n\r\n".to_owned(),
        ] {
            let provider = answering(wire, answer);
            let client = client_for(wire);
            for text in ["one", "two", "three"] {
                let reply = post(&client, &provider.url(), text).await.unwrap();
                assert!(reply.status != 200 || reply.body == text);
            }
            assert_eq!(provider.connections(), 1);
        }
    }

    async fn a_client_without_reuse_opens_a_connection_for_each_request(wire: Wire) {
        let (told, tells) = mpsc::channel();
        let provider = Provider::start(wire, move |mut peer: Peer, _| {
            let told = told.clone();
            async move {
                let request = peer.request().await?;
                peer.send(whole(&request.text())).await?;
                peer.closed_by_client().await.ok();
                let _ = told.send(());
                Ok(())
            }
        });
        let client = Client::new(scheme(wire), Reuse::Never, PATIENCE, Reach::Private);
        for text in ["one", "two", "three"] {
            assert_eq!(body(&client, &provider.url(), text).await, text);
            tells.recv_timeout(PATIENCE).expect("closed at once");
        }
        assert_eq!(provider.connections(), 3);
    }

    async fn a_connection_that_the_provider_wants_closed_is_not_used_again(wire: Wire) {
        for option in ["connection: close", "Connection: x-a, Close"] {
            let provider = answering(wire, move |text| whole(text).replacen("\r\n", &format!("\r\n{option}\r\n"), 1));
            let client = client_for(wire);
            assert_eq!(body(&client, &provider.url(), "one").await, "one");
            assert_eq!(body(&client, &provider.url(), "two").await, "two");
            assert_eq!(provider.connections(), 2);
        }
    }

    async fn a_body_that_should_not_exist_goes_to_nobody(wire: Wire) {
        for status in [204, 304] {
            let provider = Provider::start(wire, move |mut peer: Peer, number| async move {
                loop {
                    let text = peer.request().await?.text();
                    if number == 0 {
                        peer.send(format!("HTTP/1.1 {status} None\r\ncontent-length: 5\r\n\r\n")).await?;
                        peer.send("stole").await?;
                    } else {
                        peer.send(whole(&text)).await?;
                    }
                }
            });
            let client = client_for(wire);
            let empty = post(&client, &provider.url(), "one").await.unwrap();
            assert_eq!((empty.status, empty.body.as_str()), (status, ""));
            assert_eq!(body(&client, &provider.url(), "two").await, "two");
            assert_eq!(provider.connections(), 2);
        }
    }

    async fn garbage_after_an_answer_goes_to_nobody(wire: Wire) {
        assert_leftovers_go_to_nobody(wire, FIRST, "garbage").await;
        assert_leftovers_go_to_nobody(wire, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst\r\n", "\r\n").await;
    }

    async fn a_second_answer_goes_to_nobody(wire: Wire) {
        assert_leftovers_go_to_nobody(wire, FIRST, SECOND).await;
        assert_leftovers_go_to_nobody(wire, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen", SECOND).await;
    }

    async fn an_unsolicited_408_goes_to_nobody(wire: Wire) {
        let timeout = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_leftovers_go_to_nobody(wire, FIRST, timeout).await;
    }

    /// As the one before, but the surplus lies in the very read that brought the end.
    async fn leftovers_in_the_same_read_go_to_nobody(wire: Wire) {
        let provider = answering(wire, |text| whole(text) + SECOND);
        let client = client_for(wire);
        for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
            assert_eq!(body(&client, &provider.url(), text).await, text);
            assert_eq!(provider.connections(), number + 1);
        }
    }

    async fn a_connection_that_died_idle_is_not_used(wire: Wire) {
        for closes in [true, false] {
            let (told, tells) = mpsc::channel();
            let provider = Provider::start(wire, move |mut peer: Peer, number| {
                let told = told.clone();
                async move {
                    let request = peer.request().await?;
                    peer.send(whole(&request.text())).await?;
                    if number > 0 {
                        return peer.closed_by_client().await;
                    }
                    match closes {
                        true => peer.close().await?,
                        false => peer.cut(),
                    }
                    let _ = told.send(());
                    Ok(())
                }
            });
            let client = client_for(wire);
            assert_eq!(body(&client, &provider.url(), "one").await, "one");
            tells.recv_timeout(PATIENCE).unwrap();
            assert_eq!(body(&client, &provider.url(), "two").await, "two");
            assert_eq!(provider.connections(), 2);
        }
    }

    /// The body may be long in coming: only then is a connection taken.
    async fn what_comes_at_the_last_moment_goes_to_nobody(wire: Wire) {
        let (go, goes) = tokio::sync::watch::channel(false);
        let (told, tells) = mpsc::channel();
        let provider = Provider::start(wire, move |mut peer: Peer, number| {
            let (mut goes, told) = (goes.clone(), told.clone());
            async move {
                peer.request().await?;
                peer.send(FIRST).await?;
                if number == 0 {
                    let _ = goes.wait_for(|go| *go).await;
                    peer.send(SECOND).await?;
                    let _ = told.send(());
                }
                peer.closed_by_client().await
            }
        });
        let client = client_for(wire);
        assert_eq!(body(&client, &provider.url(), "one").await, "first");
        let upload = futures_util::stream::once(async move {
            go.send(true).unwrap();
            tells.recv_timeout(PATIENCE).unwrap();
            Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"two"))
        });
        let upload = SizedStream::new(3, Box::pin(upload));
        let response = send(&client, &provider.url(), upload).await.unwrap();
        assert_eq!(response.content.read(9).await.unwrap().unwrap(), "first");
        assert_eq!(provider.connections(), 2);
    }

    /// After the pool has looked at the connection, and before the first byte is written.
    async fn a_connection_that_is_reset_at_the_last_moment_leaves_the_request_unsent(wire: Wire) {
        let (go, goes) = tokio::sync::watch::channel(false);
        let (told, tells) = mpsc::channel();
        let provider = Provider::start(wire, move |mut peer: Peer, _| {
            let (mut goes, told) = (goes.clone(), told.clone());
            async move {
                peer.request().await?;
                peer.send(FIRST).await?;
                let _ = goes.wait_for(|go| *go).await;
                peer.reset();
                let _ = told.send(());
                Ok(())
            }
        });
        let client = client_for(wire);
        assert_eq!(body(&client, &provider.url(), "one").await, "first");
        let observer = WhenUsed(move || {
            go.send(true).unwrap();
            tells.recv_timeout(PATIENCE).unwrap();
        });
        let url = provider.url();
        let sent = for_request(observed(observer), send(&client, &url, "two")).await;
        let trouble = Trouble::new(TransportError::of(&sent.unwrap_err()), None);
        assert!(trouble.is_stale && trouble.is_unsent, "{trouble:?}");
    }

    async fn a_reused_connection_that_dies_unanswered_is_stale(wire: Wire) {
        for resets in [false, true] {
            let provider = Provider::start(wire, move |mut peer: Peer, _| async move {
                let request = peer.request().await?;
                peer.send(whole(&request.text())).await?;
                peer.request().await?;
                if resets {
                    peer.reset();
                }
                Ok(())
            });
            let client = client_for(wire);
            assert_eq!(body(&client, &provider.url(), "one").await, "one");
            let trouble = post(&client, &provider.url(), "two").await.unwrap_err();
            assert_eq!(trouble.failure, Failure::ClosedBeforeResponse);
            assert!(trouble.is_stale && !trouble.is_unsent && trouble.request_bytes > 0);
            assert_eq!(provider.connections(), 1);
        }
    }

    async fn a_reused_connection_that_dies_after_one_byte_is_not_stale(wire: Wire) {
        for answer in ["H", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let provider = Provider::start(wire, move |mut peer: Peer, _| async move {
                let request = peer.request().await?;
                peer.send(whole(&request.text())).await?;
                peer.request().await?;
                peer.send(answer).await?;
                peer.close().await
            });
            let client = client_for(wire);
            assert_eq!(body(&client, &provider.url(), "one").await, "one");
            let trouble = post(&client, &provider.url(), "two").await.unwrap_err();
            assert_eq!(trouble.failure, Failure::ClosedBeforeResponse);
            assert_eq!((trouble.is_stale, trouble.response_bytes), (false, answer.len() as u64));
        }
    }

    /// They would wait until another connection to the same provider is wanted, perhaps for ever.
    async fn connections_that_died_idle_do_not_pile_up(wire: Wire) {
        let (told, tells) = mpsc::channel();
        let gone = Provider::start(wire, move |mut peer: Peer, _| {
            let told = told.clone();
            async move {
                peer.request().await?;
                peer.send(FIRST).await?;
                peer.close().await?;
                let _ = told.send(());
                Ok(())
            }
        });
        let other = answering(wire, whole);
        let mut connector = Connector::new(scheme(wire), Reuse::KeepAlive, PATIENCE, Reach::Private);
        connector.pool = Pool::new(Limits {
            idle: PATIENCE,
            lifetime: PATIENCE,
            sweep_every: Duration::ZERO,
        });
        let client = Client::over(connector);
        for _ in 0..3 {
            assert_eq!(body(&client, &gone.url(), "one").await, "first");
            tells.recv_timeout(PATIENCE).unwrap();
            assert_eq!(client.pool.idle(), 1);
        }
        assert_eq!(body(&client, &other.url(), "two").await, "two");
        assert_eq!(client.pool.idle(), 1, "that to the other provider");
        assert_eq!(body(&client, &gone.url(), "three").await, "first");
        assert_eq!((gone.connections(), other.connections()), (4, 1));
        let pool = std::rc::Rc::downgrade(&client.pool);
        drop(client);
        assert!(pool.upgrade().is_none(), "closed along with the client");
    }

    async fn a_connection_is_renewed_at_the_end_of_its_life_or_after_long_idleness(wire: Wire) {
        for (idle, lifetime) in [(Duration::ZERO, PATIENCE), (PATIENCE, Duration::ZERO)] {
            let provider = answering(wire, whole);
            let mut connector = Connector::new(scheme(wire), Reuse::KeepAlive, PATIENCE, Reach::Private);
            connector.pool = Pool::new(Limits { idle, lifetime, sweep_every: PATIENCE });
            let client = Client::over(connector);
            for number in 1..=3 {
                assert_eq!(body(&client, &provider.url(), "one").await, "one");
                assert_eq!(provider.connections(), number);
            }
        }
    }

    /// The end of a stream often comes in a read of its own.
    async fn a_connection_is_kept_whose_answer_ends_after_its_content(wire: Wire) {
        let (go, goes) = tokio::sync::watch::channel(0);
        let provider = Provider::start(wire, move |mut peer: Peer, _| {
            let mut goes = goes.clone();
            async move {
                for number in 1.. {
                    peer.request().await?;
                    peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await?;
                    let _ = goes.wait_for(|go| *go == number).await;
                    peer.send("0\r\n\r\n").await?;
                }
                Ok(())
            }
        });
        let client = client_for(wire);
        for number in 1..=3 {
            let mut response = send(&client, &provider.url(), "x").await.unwrap();
            assert_eq!(response.content.next().await.unwrap().unwrap(), "a");
            go.send(number).unwrap();
            assert!(response.content.next().await.is_none());
            assert_eq!(client.pool.idle(), 1);
        }
        assert_eq!(provider.connections(), 1);
    }

    async fn an_idle_connection_does_not_keep_what_one_large_head_took(wire: Wire) {
        let provider = answering(wire, |text| {
            let large = "x".repeat(48 * 1024);
            let length = text.len();
            format!("HTTP/1.1 200 OK\r\nx-large: {large}\r\ncontent-length: {length}\r\n\r\n{text}")
        });
        let client = client_for(wire);
        for text in ["one", "two"] {
            assert_eq!(body(&client, &provider.url(), text).await, text);
            assert_eq!(client.pool.idle(), 1);
            assert!(client.pool.buffered() <= 16 * 1024, "{}", client.pool.buffered());
        }
    }

    async fn the_connection_that_was_used_last_is_used_next(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, number| async move {
            loop {
                peer.request().await?;
                peer.send(whole(&number.to_string())).await?;
            }
        });
        let client = client_for(wire);
        let url = provider.url();
        let (first, second) = futures_util::join!(send(&client, &url, "a"), send(&client, &url, "b"));
        let first = first.unwrap().content.read(9).await.unwrap().unwrap();
        let second = second.unwrap().content.read(9).await.unwrap().unwrap();
        assert_ne!(first, second);
        assert_eq!(body(&client, &provider.url(), "c").await, second);
        assert_eq!(body(&client, &provider.url(), "d").await, second);
    }

    async fn an_answer_that_nobody_reads_to_its_end_takes_its_connection_along(wire: Wire) {
        let provider = answering(wire, |text| whole(&text.repeat(100_000)));
        let client = client_for(wire);
        let response = send(&client, &provider.url(), "gone").await.unwrap();
        drop(response);
        assert_eq!(body(&client, &provider.url(), "x").await.len(), 100_000);
        assert_eq!(provider.connections(), 2);
    }
}
