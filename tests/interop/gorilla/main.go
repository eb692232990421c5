// gorilla's websocket in both roles: `peer server` prints its port, `peer URL [compress]` prints what a client saw.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{
	EnableCompression: true,
	CheckOrigin:       func(*http.Request) bool { return true },
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func echo(writer http.ResponseWriter, request *http.Request) {
	connection, err := upgrader.Upgrade(writer, request, nil)
	check(err)
	defer connection.Close()
	for {
		kind, data, err := connection.ReadMessage()
		if err != nil {
			return
		}
		// A message that is written by a writer goes out in frames of its buffer: 4 KiB.
		if request.URL.Path == "/fragmented" {
			message, err := connection.NextWriter(kind)
			check(err)
			for len(data) > 0 {
				part := data[:min(1000, len(data))]
				message.Write(part)
				data = data[len(part):]
			}
			check(message.Close())
		} else if connection.WriteMessage(kind, data) != nil {
			return
		}
	}
}

func min(one, other int) int {
	if one < other {
		return one
	}
	return other
}

func closing(writer http.ResponseWriter, request *http.Request) {
	connection, err := upgrader.Upgrade(writer, request, nil)
	check(err)
	words := websocket.FormatCloseMessage(4001, "go")
	connection.WriteControl(websocket.CloseMessage, words, time.Now().Add(time.Second))
	connection.ReadMessage()
	connection.Close()
}

func serve() {
	http.HandleFunc("/echo", echo)
	http.HandleFunc("/fragmented", echo)
	http.HandleFunc("/close", closing)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	check(http.Serve(listener, nil))
}

func echoes(connection *websocket.Conn) int {
	wrong := 0
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			message := bytes.Repeat([]byte("x"), size)
			if kind == websocket.BinaryMessage {
				message = bytes.Repeat([]byte{255}, size)
			}
			check(connection.WriteMessage(kind, message))
			answered, answer, err := connection.ReadMessage()
			check(err)
			if answered != kind || !bytes.Equal(answer, message) {
				wrong++
			}
		}
	}
	return wrong
}

func connect(url string, compress bool) {
	dialer := websocket.Dialer{Subprotocols: []string{"echo"}, EnableCompression: compress}
	connection, _, err := dialer.Dial(url, nil)
	check(err)
	result := map[string]interface{}{"protocol": connection.Subprotocol()}
	if strings.HasSuffix(url, "/echo") {
		result["wrong"] = echoes(connection)
		words := websocket.FormatCloseMessage(4000, "done")
		check(connection.WriteControl(websocket.CloseMessage, words, time.Now().Add(time.Second)))
	}
	_, _, err = connection.ReadMessage()
	closed := err.(*websocket.CloseError)
	result["close"] = []interface{}{closed.Code, closed.Text}
	check(json.NewEncoder(os.Stdout).Encode(result))
}

func main() {
	if os.Args[1] == "server" {
		serve()
	} else {
		connect(os.Args[1], len(os.Args) > 2)
	}
}
