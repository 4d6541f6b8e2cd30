package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind is what a node of a document is.
type kind string

const (
	kindNull   kind = "nothing"
	kindBool   kind = "true or false"
	kindNumber kind = "a number"
	kindString kind = "a text"
	kindList   kind = "a list"
	kindMap    kind = "a group of keys"
	kindOther  kind = "something that settings do not use"
)

// node is a document of either language, with lines where they are known.
type node struct {
	kind  kind
	text  string // of a scalar
	line  int
	items []node
	keys  []key // of a map, with the values in items
}

type key struct {
	name string
	line int
}

const (
	maxDocument = 64 << 10 // bytes: both documents are a few kB
	maxDepth    = 16
)

// parseYAML reads one YAML document; a nil error comes with a map or nothing.
func parseYAML(b []byte) (n node, err error) {
	if err := checkNesting(b); err != nil {
		return node{}, err
	}
	defer func() {
		// The YAML library is known to panic on some malformed texts; a bad
		// file must not stop the service.
		if r := recover(); r != nil {
			err = fmt.Errorf("no YAML (%s)", show(r))
		}
	}()
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		return node{}, yamlError(err)
	}
	if len(f.Docs) > 1 {
		return node{}, errors.New("more than one document: leave only one, without ---")
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return node{kind: kindNull}, nil
	}
	return yamlNode(f.Docs[0].Body, 0), nil
}

// checkNesting refuses texts on which a recursive parser could use up its stack.
func checkNesting(b []byte) error {
	if len(b) > maxDocument {
		return fmt.Errorf("%d bytes are above the limit of %d", len(b), maxDocument)
	}
	depth, dashes := 0, 0
	for i, c := range b {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			dashes = 0
		case '-', '?', ':':
			if i+1 < len(b) && b[i+1] == ' ' {
				dashes++
			}
		}
		if depth > 4*maxDepth || dashes > 4*maxDepth {
			return errors.New("nested too deeply")
		}
	}
	return nil
}

func yamlError(err error) error {
	var located interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &located) && located.GetToken() != nil && located.GetToken().Position != nil {
		return FieldError{Line: located.GetToken().Position.Line, Problem: "no YAML: " + show(located.GetMessage())}
	}
	return fmt.Errorf("no YAML: %s", show(err))
}

func yamlNode(n ast.Node, depth int) node {
	out := node{kind: kindOther, line: yamlLine(n)}
	if n == nil || depth > maxDepth {
		return out
	}
	if t := n.GetToken(); t != nil {
		out.text = t.Value
	}
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = kindNull
	case *ast.BoolNode:
		out.kind, out.text = kindBool, strconv.FormatBool(n.Value)
	case *ast.IntegerNode, *ast.FloatNode:
		out.kind = kindNumber
	case *ast.StringNode:
		out.kind, out.text = kindString, n.Value
	case *ast.LiteralNode:
		if n.Value != nil {
			out.kind, out.text = kindString, n.Value.Value
		}
	case *ast.SequenceNode:
		out.kind = kindList
		for _, v := range n.Values {
			out.items = append(out.items, yamlNode(v, depth+1))
		}
	case *ast.MappingNode:
		out.kind = kindMap
		for _, v := range n.Values {
			out.add(v, depth)
		}
	case *ast.MappingValueNode:
		out.kind = kindMap
		out.add(n, depth)
	}
	return out
}

func (n *node) add(v *ast.MappingValueNode, depth int) {
	k := key{line: yamlLine(v.Key)}
	if s, ok := v.Key.(*ast.StringNode); ok {
		k.name = s.Value
	} else if v.Key != nil && v.Key.GetToken() != nil {
		k.name = v.Key.GetToken().Value
	}
	n.keys = append(n.keys, k)
	n.items = append(n.items, yamlNode(v.Value, depth+1))
}

func yamlLine(n ast.Node) int {
	if n == nil {
		return 0
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// parseJSON reads one JSON document.
func parseJSON(b []byte) (node, error) {
	if len(b) > maxDocument {
		return node{}, fmt.Errorf("above the limit of %d bytes", maxDocument)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	n, err := jsonNode(dec, 0)
	if err != nil {
		return node{}, fmt.Errorf("no JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return node{}, errors.New("no JSON: something follows the document")
	}
	return n, nil
}

func jsonNode(dec *json.Decoder, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, errors.New("nested too deeply")
	}
	t, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	switch t := t.(type) {
	case nil:
		return node{kind: kindNull}, nil
	case bool:
		return node{kind: kindBool, text: strconv.FormatBool(t)}, nil
	case json.Number:
		return node{kind: kindNumber, text: t.String()}, nil
	case string:
		return node{kind: kindString, text: t}, nil
	case json.Delim:
		return jsonGroup(dec, t, depth)
	}
	return node{}, errors.New("unknown token")
}

func jsonGroup(dec *json.Decoder, open json.Delim, depth int) (node, error) {
	n := node{kind: kindList}
	if open == '{' {
		n.kind = kindMap
	}
	for dec.More() {
		if n.kind == kindMap {
			t, err := dec.Token()
			if err != nil {
				return node{}, err
			}
			name, ok := t.(string)
			if !ok {
				return node{}, errors.New("a key must be a text")
			}
			n.keys = append(n.keys, key{name: name})
		}
		item, err := jsonNode(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	_, err := dec.Token() // the closing bracket
	return n, err
}
