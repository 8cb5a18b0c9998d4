// Package speech holds the words that the programs here speak with `cargo xtask sdk`;
// `xtask/src/sdk/conversation.rs` describes them.
package speech

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

var stdin = bufio.NewScanner(os.Stdin)

// Say says a line.
func Say(words ...string) {
	fmt.Println(strings.Join(words, " "))
}

// Hear hears a line.
func Hear() string {
	if !stdin.Scan() {
		// Whoever drives us is gone.
		os.Exit(1)
	}
	return strings.TrimSpace(stdin.Text())
}

// Ask asks a question and gives the answer.
func Ask(words ...string) string {
	Say(append([]string{"ask"}, words...)...)
	return Hear()
}

// Step runs body and reports it; what it returns is a time to report, or a negative one for none.
func Step(name string, body func() (time.Duration, error)) {
	took, err := body()
	switch {
	case err != nil:
		Say("step", name, "FAILED", strings.Join(strings.Fields(err.Error()), " "))
	case took < 0:
		Say("step", name, "ok")
	default:
		Say("step", name, "ok", strconv.FormatInt(took.Milliseconds(), 10))
	}
}

// Untimed is a step that reports no time.
func Untimed(name string, body func() error) {
	Step(name, func() (time.Duration, error) { return -1, body() })
}

// First gives the first error, if there is one.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
