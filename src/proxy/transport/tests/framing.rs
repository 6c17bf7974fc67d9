//! Heads and framings, good, odd and bad.

use super::*;

/// The outcome for a provider that sends `answer` and keeps the connection open.
async fn answered(wire: Wire, answer: impl Into<Vec<u8>>) -> Result<Reply, Trouble> {
    let answer = answer.into();
    let provider = Provider::start(wire, move |mut peer: Peer, _| {
        let answer = answer.clone();
        async move {
            peer.request().await?;
            peer.send(answer).await?;
            peer.closed_by_client().await
        }
    });
    post(&client_for(wire), &provider.url(), "x").await
}

async fn assert_refused(wire: Wire, answer: impl Into<Vec<u8>>) {
    let answer = answer.into();
    let shown = answer[..answer.len().min(200)].escape_ascii().to_string();
    let trouble = answered(wire, answer).await.expect_err(&shown);
    assert!(
        matches!(trouble.failure, Failure::BadResponse(_)),
        "{shown}: {trouble:?}"
    );
    assert!(!trouble.is_stale);
}

over_tcp_and_tls! {
    async fn interim_answers_are_absorbed_and_the_connection_stays_good(wire: Wire) {
        let provider = answering(wire, |text| {
            let hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\ncontent-length: 3\r\n\r\n";
            format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{hints}{}", whole(text))
        });
        let client = client_for(wire);
        for text in ["one", "two", "three"] {
            let reply = post(&client, &provider.url(), text).await.unwrap();
            assert_eq!((reply.status, reply.body.as_str()), (200, text));
            assert_eq!(reply.headers, [], "those of interim answers");
        }
        assert_eq!(provider.connections(), 1);
    }

    async fn an_answer_may_come_byte_by_byte(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            loop {
                let text = peer.request().await?.text();
                let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\n";
                for byte in format!("{interim}{}", chunked(&text)).bytes() {
                    peer.send([byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
        });
        let client = client_for(wire);
        assert_eq!(body(&client, &provider.url(), "first").await, "first");
        assert_eq!(body(&client, &provider.url(), "second").await, "second");
        assert_eq!(provider.connections(), 1);
    }

    async fn endless_interim_answers_are_refused(wire: Wire) {
        assert_refused(wire, "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000)).await;
    }

    async fn headers_pass_except_those_of_the_connection(wire: Wire) {
        let reply = answered(wire, "HTTP/1.1 200 Fine\r\nX-Request-Id: 1\r\nX-Hop: a\r\n\
            Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nx-twice: a\r\nx-twice: b\r\n\
            Upgrade: websocket\r\nTrailer: sum\r\nTE: trailers\r\nProxy-Connection: close\r\n\
            Spaced : 1\r\nEmpty:\r\nContent-Length: 2, 2\r\ncontent-length:2\r\n\r\nok");
        let mut reply = reply.await.unwrap();
        reply.headers.sort();
        let expected = [
            ("empty", ""),
            ("spaced", "1"),
            ("x-request-id", "1"),
            ("x-twice", "a"),
            ("x-twice", "b"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(reply.headers, expected);
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    }

    async fn ambiguous_framing_is_refused(wire: Wire) {
        for framing in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 0",
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 6",
            "content-length: +5",
            "content-length: -5",
            "content-length: 5x",
            "content-length: 0x5",
            "content-length:",
            "content-length: 5,",
            "content-length: 99999999999999999999999",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: gzip",
            "transfer-encoding: chunked, gzip",
            "transfer-encoding: chunked, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: xchunked",
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            assert_refused(wire, answer).await;
        }
        assert_refused(wire, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    }

    async fn garbage_is_refused_at_its_first_bytes(wire: Wire) {
        for garbage in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "220 mail.example ESMTP",
            "<html>",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "HTTP/1.1 200 OK\r\n: no name\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n",
            "HTTP/1.1 200 OK\r\na: \0\r\n",
            "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "x",
        ] {
            assert_refused(wire, garbage).await;
        }
    }

    async fn a_head_is_bounded(wire: Wire) {
        assert_refused(wire, format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(10 << 20))).await;
        assert_refused(wire, format!("HTTP/1.1 200 {}", "x".repeat(200_000))).await;
        assert_refused(wire, format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(131_100))).await;
        assert_refused(wire, format!("HTTP/1.1 200 OK\r\n{}: 1\r\n\r\n", "n".repeat(70_000))).await;
        assert_refused(wire, format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:b\r\n".repeat(97))).await;
    }

    async fn the_largest_head_passes(wire: Wire) {
        let name = "n".repeat(1000);
        let many = format!("{name}:{}\n", "v".repeat(371)).repeat(95);
        let head = format!("HTTP/1.1 200\n{many}Content-Length:2\n\nok");
        assert!(head.len() > 127 * 1024 && head.len() < 128 * 1024, "{}", head.len());
        let reply = answered(wire, head).await.unwrap();
        assert_eq!((reply.headers.len(), reply.body.as_str()), (95, "ok"));
    }

    async fn what_is_passed_on_to_nobody_may_come_twice(wire: Wire) {
        for name in ["Host", "Upgrade", "Connection", "Keep-Alive"] {
            let twice = format!("{name}: 1\r\n").repeat(2);
            let answer = format!("HTTP/1.1 200 OK\r\n{twice}content-length: 2\r\n\r\nok");
            let reply = answered(wire, answer).await.unwrap();
            assert_eq!((reply.status, reply.body.as_str()), (200, "ok"), "{name}");
            assert_eq!(reply.headers, [], "{name}");
        }
    }

    async fn an_unasked_upgrade_is_refused(wire: Wire) {
        assert_refused(wire, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n").await;
    }

    async fn malformed_chunks_are_an_error_after_the_head(wire: Wire) {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nX\r\n";
        let trouble = answered(wire, answer).await.unwrap_err();
        assert_eq!(trouble.failure, Failure::BadResponse("malformed chunk"));
    }

    async fn an_answer_of_http_1_0_is_taken_by_its_length_and_its_connection_ends(wire: Wire) {
        let provider = answering(wire, |text| {
            whole(text).replace("HTTP/1.1", "HTTP/1.0").replace("\r\n\r\n", "\r\nconnection: keep-alive\r\n\r\n")
        });
        let client = client_for(wire);
        assert_eq!(body(&client, &provider.url(), "one").await, "one");
        assert_eq!(body(&client, &provider.url(), "two").await, "two");
        assert_eq!(provider.connections(), 2);
    }

    async fn a_redirect_is_relayed_and_not_followed(wire: Wire) {
        for status in [301, 302, 303, 307, 308] {
            let answer = format!("HTTP/1.1 {status} Moved\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n");
            let provider = answering(wire, move |_| answer.clone());
            let reply = post(&client_for(wire), &provider.url(), "x").await.unwrap();
            assert_eq!(reply.status, status);
            assert!(reply.headers.contains(&("location".to_owned(), "/else".to_owned())));
            assert_eq!(provider.connections(), 1);
        }
    }

    async fn an_answer_without_a_body_has_none_whatever_it_declares(wire: Wire) {
        for status in [204, 304] {
            for framing in ["content-length: 5", "content-length: x", "transfer-encoding: chunked", "a: b"] {
                let answer = format!("HTTP/1.1 {status} None\r\n{framing}\r\n\r\n");
                let reply = answered(wire, answer).await.unwrap();
                assert_eq!((reply.status, reply.body.as_str()), (status, ""), "{framing}");
            }
        }
    }

    async fn a_body_of_many_megabytes_arrives_unchanged(wire: Wire) {
        let text: String = (0..1_000_000).map(|line| format!("line {line}\n")).collect();
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            loop {
                let request = peer.request().await?;
                let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                for piece in request.body.chunks(7_919) {
                    answer.extend_from_slice(format!("{:X};n=1\r\n", piece.len()).as_bytes());
                    answer.extend_from_slice(piece);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"0\r\nsum: 1\r\n\r\n");
                peer.send(answer).await?;
            }
        });
        let client = client_for(wire);
        assert!(body(&client, &provider.url(), &text).await == text);
        assert_eq!(body(&client, &provider.url(), "short").await, "short");
        assert_eq!(provider.connections(), 1);
    }
}
