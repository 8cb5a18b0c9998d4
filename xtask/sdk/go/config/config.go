// The full round of configuration through nacos-sdk-go, driven by `cargo xtask sdk config`.
//
// Arguments: address (host:port), round (`ascii` or `chinese`, the letters of ids and groups), seed.
// The questions are described in `xtask/src/sdk/config/questions.rs`, the steps in `xtask/src/sdk/config/steps.rs`.
package main

import (
	"crypto/md5"
	"fmt"
	"hash/fnv"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nacos-group/nacos-sdk-go/clients"
	"github.com/nacos-group/nacos-sdk-go/clients/config_client"
	"github.com/nacos-group/nacos-sdk-go/common/constant"
	"github.com/nacos-group/nacos-sdk-go/vo"

	"round/speech"
)

const (
	toldWithin = 10 * time.Second
	mebibyte   = 1 << 20
	// What this SDK gives for a config that is not there: an empty one is never stored.
	missing = ""
)

var (
	address   = os.Args[1]
	chinese   = os.Args[2] == "chinese"
	seed      = os.Args[3]
	namespace = "sdk-go-" + seed
	group     = "SDK_GROUP"
	clientsNo = 0
)

func ask(what, namespace, key string, more ...string) string {
	if namespace == "" {
		namespace = "-"
	}
	return speech.Ask(append([]string{what, namespace, group, key}, more...)...)
}

// key is the dataId for one purpose; nothing else in this round or another run uses it.
func key(what string) string {
	if chinese {
		return "配置.go." + seed + "." + what + "-设置"
	}
	return "sdk.go." + seed + "." + what
}

func text(what string) string {
	if chinese {
		return what + ", seed " + seed + "：中文"
	}
	return what + ", seed " + seed
}

func short(content string) string {
	if len(content) > 60 {
		content = content[:57] + "..."
	}
	return strconv.Quote(content)
}

// client has a cache folder of its own, so that no snapshot of another can answer.
type client struct {
	sdk config_client.IConfigClient
}

func newClient(namespace string) (*client, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	clientsNo++
	sdk, err := clients.NewConfigClient(vo.NacosClientParam{
		ClientConfig: constant.NewClientConfig(
			constant.WithNamespaceId(namespace),
			constant.WithTimeoutMs(5000),
			constant.WithNotLoadCacheAtStart(true),
			constant.WithLogDir(filepath.Join(folder, "logs")),
			constant.WithLogLevel("warn"),
			constant.WithCacheDir(filepath.Join(folder, "client-"+strconv.Itoa(clientsNo))),
		),
		ServerConfigs: []constant.ServerConfig{*constant.NewServerConfig(host, port)},
	})
	return &client{sdk}, err
}

func (c *client) publish(dataId, content string, kind ...vo.ConfigType) error {
	param := vo.ConfigParam{DataId: dataId, Group: group, Content: content}
	if len(kind) > 0 {
		param.Type = kind[0]
	}
	published, err := c.sdk.PublishConfig(param)
	if err == nil && !published {
		err = fmt.Errorf("publish did not answer true")
	}
	return err
}

func (c *client) read(dataId string) (string, error) {
	return c.sdk.GetConfig(vo.ConfigParam{DataId: dataId, Group: group})
}

// readSoon reads until content is there: Nacos promises a publish to readers soon, not at once.
func (c *client) readSoon(dataId, content string) (time.Duration, error) {
	begun := time.Now()
	for {
		seen, err := c.read(dataId)
		took := time.Since(begun)
		if err != nil || seen == content {
			return took, err
		}
		if took > toldWithin {
			return took, fmt.Errorf("read %s instead of %s", short(seen), short(content))
		}
	}
}

func (c *client) expectRead(dataId, content string) error {
	seen, err := c.read(dataId)
	if err == nil && seen != content {
		err = fmt.Errorf("%s: read %s instead of %s", dataId, short(seen), short(content))
	}
	return err
}

func (c *client) remove(dataId string) error {
	removed, err := c.sdk.DeleteConfig(vo.ConfigParam{DataId: dataId, Group: group})
	if err == nil && !removed {
		err = fmt.Errorf("remove did not answer true")
	}
	return err
}

type notice struct {
	at      time.Time
	content string
}

// listener holds all that a listener is told, in order.
type listener struct {
	told chan notice
}

func (c *client) listen(dataId string) (*listener, error) {
	// Room for more than any round tells, so that the SDK never waits for us.
	heard := &listener{make(chan notice, 100)}
	err := c.sdk.ListenConfig(vo.ConfigParam{
		DataId: dataId,
		Group:  group,
		OnChange: func(_, _, _, content string) {
			heard.told <- notice{time.Now(), content}
		},
	})
	return heard, err
}

// expect wants content as the next thing told; gives the time since then.
func (l *listener) expect(content string, since time.Time) (time.Duration, error) {
	if l == nil {
		return 0, fmt.Errorf("there is no listener, since an earlier step failed")
	}
	select {
	case seen := <-l.told:
		if seen.content != content {
			return 0, fmt.Errorf("told of %s instead of %s", short(seen.content), short(content))
		}
		if took := seen.at.Sub(since); took > 0 {
			return took, nil
		}
		return 0, nil
	case <-time.After(toldWithin):
		return 0, fmt.Errorf("not told within %v", toldWithin)
	}
}

func (l *listener) expectNothing() error {
	if l == nil {
		return fmt.Errorf("there is no listener, since an earlier step failed")
	}
	if len(l.told) > 0 {
		return fmt.Errorf("told of something that did not happen")
	}
	return nil
}

// parked waits until the server holds our long poll for this key with the MD5 of this content.
func parked(namespace, dataId, content string) error {
	sum := "-"
	if content != missing {
		sum = fmt.Sprintf("%x", md5.Sum([]byte(content)))
	}
	if ask("listened", namespace, dataId, sum) != "yes" {
		return fmt.Errorf("the server holds no long poll for it")
	}
	return nil
}

func large() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789 =&%+\n"
	hash := fnv.New64()
	hash.Write([]byte(seed))
	random := rand.New(rand.NewSource(int64(hash.Sum64())))
	bytes := make([]byte, mebibyte)
	for i := range bytes {
		bytes[i] = alphabet[random.Intn(len(alphabet))]
	}
	return string(bytes)
}

func main() {
	if chinese {
		group = "配置分组"
	}
	if err := round(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func round() error {
	speech.Say("client", strings.TrimPrefix(constant.CLIENT_VERSION, "Nacos-Go-Client:v"))
	public, err := newClient("")
	if err != nil {
		return err
	}
	spaced, err := newClient(namespace)
	if err != nil {
		return err
	}
	var plain, later, other *listener
	contents := []struct{ what, content string }{
		{"special", " a=1&b=2%20+c;d#e?f\r\n\tline \"quoted\" 'single' <tag> \\ end \n"},
		{"content", "中文内容：配置管理，标点。\n第二行 😀 end"},
		{"large", large()},
	}
	stepOf := map[string]string{
		"special": "special-characters", "content": "chinese-content", "large": "one-mebibyte",
	}

	speech.Untimed("read-missing", func() error {
		if err := public.expectRead(key("missing"), missing); err != nil {
			return err
		}
		if status := ask("status", "", key("missing")); status != "404" {
			return fmt.Errorf("answered %s", status)
		}
		return nil
	})
	speech.Untimed("publish", func() error { return public.publish(key("plain"), text("first")) })
	speech.Step("read", func() (time.Duration, error) { return public.readSoon(key("plain"), text("first")) })
	for _, one := range contents {
		speech.Untimed(stepOf[one.what], func() error {
			if err := public.publish(key(one.what), one.content); err != nil {
				return err
			}
			_, err := public.readSoon(key(one.what), one.content)
			return err
		})
	}
	speech.Untimed("type", func() error {
		if err := public.publish(key("typed"), `{"a":1}`, vo.JSON); err != nil {
			return err
		}
		if kind := ask("type", "", key("typed")); kind != "json" {
			return fmt.Errorf("stored as %s", kind)
		}
		return nil
	})

	speech.Step("told-of-change", func() (time.Duration, error) {
		var listening, listeningLater error
		plain, listening = public.listen(key("plain"))
		later, listeningLater = public.listen(key("later"))
		if err := speech.First(
			listening, listeningLater, parked("", key("plain"), text("first")),
			public.publish(key("plain"), text("second")),
		); err != nil {
			return 0, err
		}
		return plain.expect(text("second"), time.Now())
	})
	speech.Step("told-of-creation", func() (time.Duration, error) {
		if err := speech.First(
			parked("", key("later"), missing), public.publish(key("later"), text("created")),
		); err != nil {
			return 0, err
		}
		return later.expect(text("created"), time.Now())
	})
	speech.Step("told-of-removal", func() (time.Duration, error) {
		if err := speech.First(parked("", key("later"), text("created")), public.remove(key("later"))); err != nil {
			return 0, err
		}
		return later.expect(missing, time.Now())
	})

	speech.Untimed("namespace-apart", func() error {
		if err := speech.First(
			spaced.expectRead(key("plain"), missing), spaced.publish(key("plain"), text("spaced")),
		); err != nil {
			return err
		}
		if _, err := spaced.readSoon(key("plain"), text("spaced")); err != nil {
			return err
		}
		return public.expectRead(key("plain"), text("second"))
	})
	speech.Step("namespace-told", func() (time.Duration, error) {
		var listening error
		other, listening = spaced.listen(key("plain"))
		if err := speech.First(
			listening, parked(namespace, key("plain"), text("spaced")),
			spaced.publish(key("plain"), text("spaced again")),
		); err != nil {
			return 0, err
		}
		took, err := other.expect(text("spaced again"), time.Now())
		return took, speech.First(err, plain.expectNothing())
	})

	if !chinese {
		speech.Untimed("chinese-id-refused", func() error {
			for _, one := range []vo.ConfigParam{
				{DataId: "配置.go." + seed, Group: group, Content: text("refused")},
				{DataId: key("refused"), Group: "配置分组", Content: text("refused")},
			} {
				published, err := public.sdk.PublishConfig(one)
				if published || err == nil {
					return fmt.Errorf("%s in %s was taken", one.DataId, one.Group)
				}
				if !strings.Contains(err.Error(), "400") {
					return fmt.Errorf("refused otherwise: %w", err)
				}
			}
			return nil
		})
	}

	speech.Say("restart-please")
	if speech.Hear() == "restarted" {
		speech.Untimed("after-restart-read", func() error {
			// New clients: nothing that the old ones kept on disk can answer.
			fresh, err := newClient("")
			if err != nil {
				return err
			}
			freshSpaced, err := newClient(namespace)
			if err != nil {
				return err
			}
			for _, one := range contents {
				if err := fresh.expectRead(key(one.what), one.content); err != nil {
					return err
				}
			}
			return speech.First(
				fresh.expectRead(key("plain"), text("second")),
				fresh.expectRead(key("later"), missing),
				freshSpaced.expectRead(key("plain"), text("spaced again")),
			)
		})
		speech.Step("after-restart-told", func() (time.Duration, error) {
			if err := public.publish(key("plain"), text("third")); err != nil {
				return 0, err
			}
			took, err := plain.expect(text("third"), time.Now())
			return took, speech.First(err, later.expectNothing(), other.expectNothing())
		})
	}

	speech.Untimed("remove", func() error {
		for _, what := range []string{"plain", "special", "content", "large", "typed"} {
			if err := public.remove(key(what)); err != nil {
				return err
			}
			if _, err := public.readSoon(key(what), missing); err != nil {
				return err
			}
			if status := ask("status", "", key(what)); status != "404" {
				return fmt.Errorf("%s is still answered: %s", what, status)
			}
		}
		if err := spaced.remove(key("plain")); err != nil {
			return err
		}
		_, err := spaced.readSoon(key("plain"), missing)
		return err
	})
	speech.Say("done")
	return nil
}
