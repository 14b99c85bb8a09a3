//! A TLS peer on rustls, for test_tls_compiled_peers.py: an echo server, or a client that sends data and compares the
//! answers.
//!
//!     peer server FOLDER VERSION          listens on 127.0.1.1, prints "listening PORT"
//!     peer client FOLDER VERSION ADDRESS  connects twice; the second connection resumes the session
//!
//! FOLDER has ca.pem, and server.pem or client.pem. An error of the client ends the program; an error of a connection
//! to the server is printed.

use rustls::server::AllowAnyAuthenticatedClient;
use rustls::{Certificate, ClientConfig, ClientConnection, PrivateKey, RootCertStore, ServerConfig, ServerConnection};
use rustls::{Stream, SupportedProtocolVersion, Ticketer};
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::{env, error::Error, fs::File};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Identity {
    roots: RootCertStore,
    chain: Vec<Certificate>,
    key: PrivateKey,
}

fn items(path: String) -> Result<Vec<rustls_pemfile::Item>> {
    Ok(rustls_pemfile::read_all(&mut BufReader::new(File::open(path)?))?)
}

fn identity(folder: &str, own: &str) -> Result<Identity> {
    let mut found = Identity { roots: RootCertStore::empty(), chain: Vec::new(), key: PrivateKey(Vec::new()) };
    for item in items(format!("{folder}/ca.pem"))? {
        if let rustls_pemfile::Item::X509Certificate(der) = item {
            found.roots.add(&Certificate(der))?;
        }
    }
    for item in items(format!("{folder}/{own}.pem"))? {
        match item {
            rustls_pemfile::Item::X509Certificate(der) => found.chain.push(Certificate(der)),
            rustls_pemfile::Item::ECKey(der) | rustls_pemfile::Item::PKCS8Key(der) => found.key = PrivateKey(der),
            _ => (),
        }
    }
    Ok(found)
}

fn client_config(folder: &str, version: &'static SupportedProtocolVersion) -> Result<Arc<ClientConfig>> {
    let own = identity(folder, "client")?;
    let mut config = ClientConfig::builder()
        .with_safe_default_cipher_suites()
        .with_safe_default_kx_groups()
        .with_protocol_versions(&[version])?
        .with_root_certificates(own.roots)
        .with_single_cert(own.chain, own.key)?;
    config.alpn_protocols = vec![b"echo".to_vec()];
    Ok(Arc::new(config))
}

fn server_config(folder: &str, version: &'static SupportedProtocolVersion) -> Result<Arc<ServerConfig>> {
    let own = identity(folder, "server")?;
    let mut config = ServerConfig::builder()
        .with_safe_default_cipher_suites()
        .with_safe_default_kx_groups()
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(AllowAnyAuthenticatedClient::new(own.roots))
        .with_single_cert(own.chain, own.key)?;
    config.alpn_protocols = vec![b"echo".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

fn serve(mut socket: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    let mut connection = ServerConnection::new(config)?;
    let mut buffer = vec![0; 65536];
    loop {
        let count = Stream::new(&mut connection, &mut socket).read(&mut buffer)?;
        if count == 0 {
            connection.send_close_notify();
            connection.complete_io(&mut socket)?;
            println!("ended");
            return Ok(());
        }
        Stream::new(&mut connection, &mut socket).write_all(&buffer[..count])?;
    }
}

/// Sends this many bytes in pieces. Each piece has to come back before the next one is sent.
fn exchange(stream: &mut Stream<ClientConnection, TcpStream>, size: usize, piece: usize) -> Result<()> {
    let data: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
    for sent in data.chunks(piece) {
        stream.write_all(sent)?;
        stream.flush()?;
        let mut answer = vec![0; sent.len()];
        stream.read_exact(&mut answer)?;
        if answer != sent {
            return Err("the answer differs".into());
        }
    }
    Ok(())
}

fn talk(address: &str, config: Arc<ClientConfig>) -> Result<()> {
    let mut socket = TcpStream::connect(address)?;
    let mut connection = ClientConnection::new(config, "localhost".try_into()?)?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    exchange(&mut stream, 300, 1)?;
    exchange(&mut stream, 200_000, 16384)?;
    exchange(&mut stream, 500_000, 100_000)?;
    connection.send_close_notify();
    let mut rest = [0];
    match Stream::new(&mut connection, &mut socket).read(&mut rest)? {
        0 => Ok(()), // close_notify; without it the error is UnexpectedEof
        _ => Err("data after close_notify".into()),
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let (mode, folder) = (arguments[1].as_str(), arguments[2].as_str());
    let version = if arguments[3] == "1.2" { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    if mode == "client" {
        let config = client_config(folder, version)?;
        talk(&arguments[4], config.clone())?;
        talk(&arguments[4], config)?;
        println!("done");
        return Ok(());
    }
    let config = server_config(folder, version)?;
    let listener = TcpListener::bind("127.0.1.1:0")?;
    println!("listening {}", listener.local_addr()?.port());
    for socket in listener.incoming() {
        if let Err(error) = serve(socket?, config.clone()) {
            println!("failed: {error}");
        }
    }
    Ok(())
}
