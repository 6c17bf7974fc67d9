//! Answers that come while the request is still being sent.

use actix_http::RequestHead;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;

use super::{super::outgoing::Outgoing, *};

/// More than the buffers of both ends of a loopback connection hold.
const UPLOAD: usize = 32 << 20;

const REFUSAL: &str = "HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo long";

async fn assert_refusal_arrives(wire: Wire, provider: &Provider) {
    let client = client_for(wire);
    let reply = post(&client, &provider.url(), "x".repeat(UPLOAD)).await;
    let reply = reply.expect("the refusal, not the reset");
    assert_eq!((reply.status, reply.body.as_str()), (413, "too long"));
    let _ = post(&client, &provider.url(), "x".repeat(UPLOAD)).await;
    assert_eq!(provider.connections(), 2, "not used again");
}

over_tcp_and_tls! {
    async fn a_refusal_reaches_the_caller_though_the_provider_resets_the_upload(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            peer.request_head().await?;
            // Closing with unread data resets the connection.
            peer.send(REFUSAL).await
        });
        assert_refusal_arrives(wire, &provider).await;
    }

    async fn a_refusal_reaches_the_caller_though_the_provider_reads_no_more(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            peer.request_head().await?;
            peer.send(REFUSAL).await?;
            std::future::pending().await
        });
        assert_refusal_arrives(wire, &provider).await;
    }

    async fn a_refusal_without_framing_that_ends_in_a_reset_is_cut(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            peer.request_head().await?;
            peer.send("HTTP/1.1 413 Too Large\r\n\r\ntoo long").await
        });
        let trouble = post(&client_for(wire), &provider.url(), "x".repeat(UPLOAD)).await.unwrap_err();
        assert_eq!(trouble.failure, Failure::CutMidResponse);
    }

    async fn an_upload_that_is_reset_without_an_answer_is_an_error(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            peer.request_head().await?;
            peer.reset();
            Ok(())
        });
        let trouble = post(&client_for(wire), &provider.url(), "x".repeat(UPLOAD)).await.unwrap_err();
        assert_eq!(trouble.failure, Failure::ClosedBeforeResponse);
        assert!(!trouble.is_stale);
    }

    async fn a_success_that_comes_early_does_not_stop_the_upload(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            let head = peer.request_head().await?;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n").await?;
            let mut left = head.length - head.body.len();
            let mut sum: u64 = head.body.iter().map(|&byte| u64::from(byte)).sum();
            let mut piece = vec![0; 64 * 1024];
            while left > 0 {
                let read = peer.read(&mut piece).await?;
                left -= read;
                sum += piece[..read].iter().map(|&byte| u64::from(byte)).sum::<u64>();
            }
            let sum = sum.to_string();
            peer.send(format!("{:x}\r\n{sum}\r\n0\r\n\r\n", sum.len())).await?;
            peer.closed_by_client().await
        });
        let client = client_for(wire);
        let expected = format!("early{}", UPLOAD as u64 * u64::from(b'x'));
        assert_eq!(body(&client, &provider.url(), &"x".repeat(UPLOAD)).await, expected);
        assert_eq!(body(&client, &provider.url(), &"x".repeat(UPLOAD)).await, expected);
        assert_eq!(provider.connections(), 2, "not used again");
    }

    /// More than is kept of it: the answer reaches the caller while the upload waits, and the
    /// upload goes on when the provider reads again.
    async fn a_success_that_wants_to_be_read_first_is(wire: Wire) {
        const EARLY: usize = 16 << 20;
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            let head = peer.request_head().await?;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            peer.send(format!("{EARLY:x}\r\n{}\r\n", "e".repeat(EARLY))).await?;
            let mut left = head.length - head.body.len();
            let mut piece = vec![0; 64 * 1024];
            while left > 0 {
                left -= peer.read(&mut piece).await?;
            }
            peer.send("4\r\nread\r\n0\r\n\r\n").await?;
            peer.closed_by_client().await
        });
        let client = client_for(wire);
        for number in 1..=2 {
            let answer = body(&client, &provider.url(), &"x".repeat(UPLOAD)).await;
            assert_eq!(answer.len(), EARLY + 4);
            assert!(answer.ends_with("eread"));
            assert_eq!(provider.connections(), number, "not used again");
        }
    }

    async fn the_rest_of_an_upload_arrives_as_it_was(wire: Wire) {
        const EARLY: usize = 1 << 20;
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            let head = peer.request_head().await?;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            peer.send(format!("{EARLY:x}\r\n{}\r\n", "e".repeat(EARLY))).await?;
            let mut upload = head.body;
            while upload.len() < head.length && peer.read_buf(&mut upload).await? > 0 {}
            let digest = format!("{:?}", Sha256::digest(&upload));
            peer.send(format!("{:x}\r\n{digest}\r\n0\r\n\r\n", digest.len())).await
        });
        let upload: Bytes = (0..UPLOAD).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        let expected = format!("{}{:?}", "e".repeat(EARLY), Sha256::digest(&upload));
        for sizes in [&[3_001][..], &[10, 100_000, 9_000, 9_000, 20_000, 1]] {
            let mut rest = upload.clone();
            let pieces = sizes.iter().cycle().map_while(move |&size| {
                let piece = rest.split_to(size.min(rest.len()));
                (!piece.is_empty()).then_some(piece)
            });
            let upload = in_pieces(UPLOAD as u64, pieces);
            let mut response = send(&client_for(wire), &provider.url(), upload).await.unwrap();
            assert!(response.content.is_request_on_its_way());
            let mut answer = String::new();
            while let Some(piece) = response.content.next().await.transpose().unwrap() {
                answer.push_str(std::str::from_utf8(&piece).unwrap());
            }
            assert!(answer == expected, "{sizes:?}: {} bytes", answer.len());
        }
    }

    /// Its memory is accounted for where it lies, and until the request is over.
    async fn the_rest_of_an_upload_waits_where_it_lies(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            peer.request_head().await?;
            peer.send(whole(&"e".repeat(1 << 20))).await?;
            std::future::pending().await
        });
        let upload: std::sync::Arc<[u8]> = vec![b'x'; UPLOAD].into();
        let here = std::sync::Arc::downgrade(&upload);
        let upload = Bytes::from_owner(upload);
        let mut response = send(&client_for(wire), &provider.url(), upload).await.unwrap();
        assert!(response.content.is_request_on_its_way());
        assert_eq!(here.strong_count(), 1, "kept, and not as a copy");
        while response.content.next().await.transpose().unwrap().is_some() {}
        assert_eq!(here.strong_count(), 0);
    }

    async fn a_success_that_ends_while_its_upload_waits_is_whole(wire: Wire) {
        for length in [1, 1 << 20] {
            let provider = Provider::start(wire, move |mut peer: Peer, _| async move {
                peer.request_head().await?;
                peer.send(whole(&"e".repeat(length))).await?;
                std::future::pending().await
            });
            let client = client_for(wire);
            let answer = body(&client, &provider.url(), &"x".repeat(UPLOAD)).await;
            assert_eq!(answer.len(), length);
        }
    }

    /// Its provider may answer the request as well, when another caller's request is on its way.
    async fn a_connection_that_answers_before_it_is_asked_is_not_used_again(wire: Wire) {
        let (told, tells) = std::sync::mpsc::channel();
        let provider = Provider::start(wire, move |mut peer: Peer, _| {
            let told = told.clone();
            async move {
                peer.send(whole("before")).await?;
                let _ = told.send(());
                peer.closed_by_client().await
            }
        });
        let client = client_for(wire);
        let tells = std::rc::Rc::new(tells);
        for number in 1..=2 {
            // Here this thread waits until the answer has been sent.
            let tells = std::rc::Rc::clone(&tells);
            let observer = WhenUsed(move || tells.recv_timeout(PATIENCE).unwrap());
            let url = provider.url();
            let response = for_request(observed(observer), send(&client, &url, "x")).await.unwrap();
            assert_eq!(response.content.read(99).await.unwrap().unwrap(), "before");
            assert_eq!(provider.connections(), number);
        }
    }
}

#[actix_web::test]
async fn the_rest_of_a_request_is_what_was_gathered_and_all_after_it() {
    let pieces = ["small".into(), "x".repeat(100_000).into(), "last".into()];
    let body = std::pin::pin!(in_pieces(100_009, pieces));
    let mut outgoing = Outgoing::new(&RequestHead::default(), body).unwrap();
    outgoing.gather().await.unwrap();
    let rest: Vec<Bytes> = outgoing.rest().await.unwrap().into();
    let rest = rest.concat();
    let (head, body) = rest.split_at(rest.len() - 100_009);
    assert!(head.ends_with(b"content-length: 100009\r\n\r\n"));
    assert!(body.starts_with(b"smallxxx") && body.ends_with(b"xxxlast"));
}
