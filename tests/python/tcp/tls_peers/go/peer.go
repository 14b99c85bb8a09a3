// A TLS peer on Go's crypto/tls, for test_tls_compiled_peers.py: an echo server, or a client that sends data and compares
// the answers.
//
//	peer server FOLDER VERSION          listens on 127.0.1.1, prints "listening PORT"
//	peer client FOLDER VERSION ADDRESS  connects twice; the second connection resumes the session
//
// FOLDER has ca.pem, and server.pem or client.pem. An error of the client ends the program; an error of a connection to
// the server is printed.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func configuration(folder, own, version string) *tls.Config {
	pem, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	check(err)
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(pem)
	own = filepath.Join(folder, own)
	certificate, err := tls.LoadX509KeyPair(own, own)
	check(err)
	return &tls.Config{
		RootCAs: authorities, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{certificate}, ServerName: "localhost", NextProtos: []string{"echo"},
		MinVersion: versions[version], MaxVersion: versions[version],
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
}

func serve(connection *tls.Conn) {
	defer connection.Close()
	buffer := make([]byte, 65536)
	for {
		count, err := connection.Read(buffer)
		if _, err := connection.Write(buffer[:count]); err != nil {
			fmt.Println("failed:", err)
			return
		}
		if err == io.EOF { // close_notify; without it the error is another one
			fmt.Println("ended")
			return
		}
		if err != nil {
			fmt.Println("failed:", err)
			return
		}
	}
}

// exchange sends size bytes in pieces, and reads them at the same time.
func exchange(connection *tls.Conn, size, piece int) {
	data := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
	sent := make(chan error)
	go func() {
		for at := 0; at < size; at += piece {
			end := at + piece
			if end > size {
				end = size
			}
			if _, err := connection.Write(data[at:end]); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	answer := make([]byte, size)
	_, err := io.ReadFull(connection, answer)
	check(err)
	check(<-sent)
	if !bytes.Equal(answer, data) {
		check(fmt.Errorf("the answer to %d bytes differs", size))
	}
}

// finish sends size bytes and close_notify, and only then reads the answer.
func finish(connection *tls.Conn, size int) {
	data := bytes.Repeat([]byte("0123456789"), size/10)
	go func() {
		_, err := connection.Write(data)
		check(err)
		check(connection.CloseWrite())
	}()
	answer, err := io.ReadAll(connection) // without close_notify there is an error
	check(err)
	if !bytes.Equal(answer, data) {
		check(fmt.Errorf("%d bytes were answered after close_notify, %d sent", len(answer), len(data)))
	}
}

func talk(address string, config *tls.Config) {
	connection, err := tls.Dial("tcp", address, config)
	check(err)
	defer connection.Close()
	check(connection.SetDeadline(time.Now().Add(15 * time.Second)))
	exchange(connection, 1000, 1)
	exchange(connection, 1_000_000, 16384)
	exchange(connection, 1_000_000, 100_000)
	finish(connection, 1_000_000)
}

func main() {
	mode, folder, version := os.Args[1], os.Args[2], os.Args[3]
	config := configuration(folder, mode+".pem", version)
	if mode == "client" {
		talk(os.Args[4], config)
		talk(os.Args[4], config)
		fmt.Println("done")
		return
	}
	listener, err := net.Listen("tcp", "127.0.1.1:0")
	check(err)
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	for {
		accepted, err := listener.Accept()
		check(err)
		go serve(tls.Server(accepted, config))
	}
}
